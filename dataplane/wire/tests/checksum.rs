//! Checksums of headers and of any bytes.

use wire::checksum::{verifies, verifies_header};

#[test]
fn a_header_is_verified_as_any_bytes_are() {
    let header = |last: [u8; 4], rest: u8| {
        let mut header = [rest; 20];
        header[16..].copy_from_slice(&last);
        header
    };
    for rest in [0, 1, 0x45, 0x7f, 0x80, 0xfe, 0xff] {
        let mut intact = 0;
        for sum in 0..=u16::MAX {
            let [a, b] = sum.to_be_bytes();
            for other in [[0, 0], [0xff, 0xff], [0x12, 0x34]] {
                let header = header([a, b, other[0], other[1]], rest);
                assert_eq!(verifies_header(&header), verifies(&header), "{header:02x?}");
                intact += u32::from(verifies_header(&header));
            }
        }
        assert!((3..=6).contains(&intact), "{intact}");
    }
}
