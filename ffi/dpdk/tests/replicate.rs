//! Copies and chains, byte by byte.
// Clippy knows tests, but not their helpers.
#![allow(clippy::unwrap_used)]

mod common;
use common::*;
use dpdk::{BATCH, Burst, Mbuf, PortConfig, TxBatch};

#[test]
fn each_copy_has_its_own_header_and_the_same_payload() {
    let eal = eal();
    let pool = pool(&eal);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.pcap");
    let (port, mut queues) = start(&eal, &pool, &format!("pcap:,{}", file.display()), &PortConfig::default());
    let at_rest = pool.in_use();
    let mut batch = TxBatch::new();
    let mut expected = Vec::new();
    for len in [0, 1, 14, 18, 42, 60, 63, 64, 65, 127, 128, 129, 192, 193, 255, 256] {
        for count in [0, 1, 2, 63, BATCH] {
            assert!(batch.copies(&pool, count, &payload(len), &heads(head)), "{len} bytes, {count} copies");
            assert_eq!(queues.tx[0].transmit(&mut batch), count);
            expected.extend((0..count).map(|copy| [&header(copy)[..], &payload(len)].concat()));
        }
    }
    assert_eq!(pool.in_use(), at_rest);
    drop((queues, port));
    is_whole(&pool);
    let seen = read_pcap(&file);
    assert_eq!(seen.len(), expected.len());
    assert!(seen == expected);
}

#[test]
fn chains_share_one_payload_and_give_every_reference_back() {
    let eal = eal();
    let pool = pool(&eal);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.pcap");
    let config = PortConfig { chains: true, ..PortConfig::default() };
    let (port, mut queues) = start(&eal, &pool, &format!("pcap:,{}", file.display()), &config);
    let at_rest = pool.in_use();
    let mut batch = TxBatch::new();
    let mut expected = Vec::new();
    // Wanted: references asked for; made: chains, in batches; the rest of the references goes unused.
    for (len, wanted, made) in
        [(60, 1, 1), (256, 64, 64), (1400, 200, 200), (1400, 200, 64), (1400, 3, 0), (1, 65_535, 128)]
    {
        let received =
            Mbuf::from_bytes(&pool, &[&[0xaa; 42], &payload(len)[..], &[0xbb; 6]].concat()).unwrap();
        let mut shared = received.share(42..42 + len, wanted).ok().unwrap();
        let mut left = made;
        while left > 0 {
            let count = left.min(BATCH);
            assert!(batch.chains(&pool, count, &mut shared, &heads(head)));
            assert_eq!(queues.tx[0].transmit(&mut batch), count);
            expected.extend((0..count).map(|copy| [&header(copy)[..], &payload(len)].concat()));
            left -= count;
        }
        assert_eq!(shared.references(), usize::from(wanted) - made);
        drop(shared);
        assert_eq!(pool.in_use(), at_rest, "{len} bytes, {wanted} wanted, {made} made");
    }
    drop((queues, port));
    is_whole(&pool);
    assert!(read_pcap(&file) == expected);
}

#[test]
fn what_follows_a_short_copy_is_zeros_and_not_an_earlier_frame() {
    let eal = eal();
    let pool = pool(&eal);
    let (_port, mut queues) = start(&eal, &pool, "vdev:net_ring0", &PortConfig::default());
    let (mut batch, mut burst) = (TxBatch::new(), Burst::new());
    // A driver that pads a short frame takes what is there.
    for (len, padding) in [(256, 0), (200, 56), (20, 44), (64, 0), (1, 63)] {
        assert!(batch.copies(&pool, 1, &vec![0xff; len], &heads(head)));
        assert_eq!(queues.tx[0].transmit(&mut batch), 1);
        assert_eq!(queues.rx[0].receive(&mut burst), 1);
        let mut copy = burst.take(0).unwrap();
        assert_eq!(copy.len(), 42 + len);
        assert!(copy.append(padding).unwrap().iter().all(|&byte| byte == 0), "{len} bytes");
    }
    is_whole(&pool);
}

#[test]
fn a_received_frame_is_sent_again_with_another_header_and_its_payload_untouched() {
    let eal = eal();
    let pool = pool(&eal);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.pcap");
    let (port, mut queues) = start(&eal, &pool, &format!("pcap:,{}", file.display()), &PortConfig::default());
    let at_rest = pool.in_use();
    let mut batch = TxBatch::new();
    let mut expected = Vec::new();
    // What is before the payload, how long that is, and what is behind it.
    for (before, len, behind) in
        [(42, 60, 0), (42, 0, 0), (42, 1400, 6), (50, 300, 18), (0, 60, 0), (7, 1, 1)]
    {
        let bytes = [&vec![0xaa; before][..], &payload(len), &vec![0xbb; behind]].concat();
        let received = Mbuf::from_bytes(&pool, &bytes).unwrap();
        assert!(batch.in_place(received, before..before + len, 42, &head(len)), "{before} {len} {behind}");
        assert_eq!(queues.tx[0].transmit(&mut batch), 1);
        expected.push([&header(len)[..], &payload(len)].concat());
    }
    let bytes = || Mbuf::from_bytes(&pool, &[0xaa; 100]).unwrap();
    #[allow(clippy::reversed_empty_ranges, reason = "it is refused")]
    for wrong in [42..101, 101..101, 50..42, 0..usize::MAX] {
        assert!(!batch.in_place(bytes(), wrong.clone(), 42, &head(0)), "{wrong:?}");
    }
    assert!(!batch.in_place(bytes(), 42..100, 42, &[0; 5]), "a head of 40 bytes for a header of 42");
    for _ in 0..BATCH {
        assert!(batch.in_place(bytes(), 42..100, 42, &head(0)));
    }
    assert!(!batch.in_place(bytes(), 42..80, 42, &head(0)), "the batch is full");
    assert_eq!(batch.discard_all(), BATCH);
    assert_eq!(pool.in_use(), at_rest, "what is refused is freed");
    drop((queues, port));
    is_whole(&pool);
    assert!(read_pcap(&file) == expected);
}
