//! Legal texts and numbers, and the errors of others.

use std::net::Ipv4Addr;

use bcast_domain::{Mac, MacError, Tep, TepError, TepIndex, Vni, VniError};

#[test]
fn a_vni_is_decimal_or_hexadecimal_and_every_u32_is_legal() {
    let legal = [
        ("0", 0),
        ("5001", 5001),
        ("0x1389", 5001),
        ("0X1389", 5001),
        ("0xdeadBEEF", 0xdead_beef),
        ("007", 7),
        ("4294967295", u32::MAX),
    ];
    for (text, number) in legal {
        assert_eq!(text.parse(), Ok(Vni::from(number)), "{text}");
        assert_eq!(Vni::from(number).to_string(), number.to_string());
    }
    for text in
        ["", "0x", "-1", "+1", "0x+1", "5001 ", " 5001", "1_000", "1389h", "vpc-a", "1.5", "0x0x1", "٥"]
    {
        assert_eq!(text.parse::<Vni>(), Err(VniError::NotANumber(text.to_owned())), "{text:?}");
    }
    for text in ["4294967296", "0x100000000", "99999999999999999999"] {
        assert_eq!(text.parse::<Vni>(), Err(VniError::TooLarge(text.to_owned())), "{text}");
    }
    assert_eq!(
        VniError::TooLarge("4294967296".to_owned()).to_string(),
        "VNI 4294967296 is out of range: it has 32 bits, so the largest is 4294967295 (0xffffffff)"
    );
}

#[test]
fn a_tep_is_an_address_that_one_host_can_have() {
    for text in ["1.0.0.0", "10.0.0.1", "126.255.255.255", "128.0.0.0", "198.18.0.1", "223.255.255.255"] {
        let tep: Tep = text.parse().unwrap();
        assert_eq!((tep.to_string().as_str(), tep.address().to_string().as_str()), (text, text));
    }
    type Reason = fn(Ipv4Addr) -> TepError;
    let refused: [(&str, Reason); 9] = [
        ("0.0.0.0", TepError::ThisNetwork),
        ("0.255.255.255", TepError::ThisNetwork),
        ("127.0.0.1", TepError::Loopback),
        ("127.255.255.255", TepError::Loopback),
        ("224.0.0.1", TepError::Multicast),
        ("239.255.255.255", TepError::Multicast),
        ("240.0.0.0", TepError::Reserved),
        ("255.255.255.254", TepError::Reserved),
        ("255.255.255.255", |_| TepError::Broadcast),
    ];
    for (text, error) in refused {
        let address = text.parse().unwrap();
        assert_eq!(text.parse::<Tep>(), Err(error(address)), "{text}");
        assert_eq!(Tep::try_from(address), Err(error(address)), "{text}");
        assert!(error(address).to_string().starts_with(text), "the error names {text}");
    }
    for text in ["", "hv1", "198.18.0", "198.18.0.256", "198.18.0.1/16", "5001"] {
        assert_eq!(text.parse::<Tep>(), Err(TepError::NotAnAddress(text.to_owned())), "{text:?}");
    }
    assert_eq!("2001:db8::1".parse::<Tep>(), Err(TepError::Ipv6("2001:db8::1".parse().unwrap())));
}

#[test]
fn teps_and_indices_are_ordered_as_numbers() {
    let tep = |text: &str| text.parse::<Tep>().unwrap();
    assert!(tep("9.0.0.1") < tep("10.0.0.1"));
    assert!(TepIndex::from(9) < TepIndex::from(10));
    assert_eq!(TepIndex::from(u16::MAX).index(), 65_535);
}

#[test]
fn a_mac_is_read_in_all_usual_forms_and_is_neither_zero_nor_broadcast() {
    let mac = Mac::new([0x52, 0x54, 0, 0, 0xab, 1]).unwrap();
    for text in ["52:54:00:00:ab:01", "52-54-00-00-AB-01", "5254.0000.ab01", "52540000AB01"] {
        assert_eq!(text.parse(), Ok(mac), "{text}");
    }
    assert_eq!((mac.to_string().as_str(), mac.octets()), ("52:54:00:00:ab:01", [0x52, 0x54, 0, 0, 0xab, 1]));
    for text in [
        "",
        "hv1",
        "52:54:00:00:00",
        "52:54:00:00:00:01:02",
        "52:54:00:00:00:1",
        "52:54:00:00:00:+1",
        "52:54-00:00:00:01",
        "52:54:00:00:00:0g",
        "5254.0000",
        "5254.0000.000001",
        "5254:0000:0001",
        "525400000001ff",
        "52540000000",
        "+52540000001",
        "52.54.00.00.00.01",
    ] {
        assert_eq!(text.parse::<Mac>(), Err(MacError::NotAMac(text.to_owned())), "{text:?}");
    }
    assert_eq!("00:00:00:00:00:00".parse::<Mac>(), Err(MacError::Zero));
    assert_eq!("ffff.ffff.ffff".parse::<Mac>(), Err(MacError::Broadcast));
    // A cluster's interfaces may share one.
    for text in ["01:00:5e:00:00:12", "03:bf:0a:00:00:64"] {
        assert_eq!(text.parse::<Mac>().unwrap().to_string(), text);
    }
}
