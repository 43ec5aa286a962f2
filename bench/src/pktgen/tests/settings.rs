//! Options of the command line and of a file.

use std::fs;

use anyhow::Result;
use clap::Parser;

use super::super::Args;
use super::super::flow::Rate;
use super::super::settings::{Settings, in_one_line, rate, with_file};

#[derive(Parser)]
enum Line {
    Pktgen(Args),
}

/// Settings of `bench pktgen --config FILE WORDS count`, where the file holds this text.
fn parse(text: &str, words: &[&str]) -> Result<Settings> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("nic.toml");
    fs::write(&file, text)?;
    let file = file.display().to_string();
    let line = [&["bench", "pktgen", "--config", &file][..], words, &["count"]].concat();
    let line = with_file(line.into_iter().map(str::to_owned).collect())?;
    let line = Line::try_parse_from(line).map_err(|error| anyhow::anyhow!(in_one_line(&error)))?;
    let Line::Pktgen(args) = line;
    args.settings.check()?;
    Ok(args.settings)
}

#[test]
fn a_rate_is_a_number_with_a_suffix_or_max() {
    for (text, expected) in [
        ("500", Some(Rate(500))),
        ("10k", Some(Rate(10_000))),
        ("2M", Some(Rate(2_000_000))),
        ("max", Some(Rate::MAX)),
        ("0", None),
        ("0k", None),
        ("-1", None),
        ("", None),
        ("1.5k", None),
        ("18446744073709551615M", None),
    ] {
        let found = rate(text);
        assert_eq!(found.as_ref().ok(), expected.as_ref(), "{text:?}");
        let said = found.err().map_or(String::new(), |error| error.to_string());
        let word = if text.starts_with('0') { "a rate of 0 sends nothing" } else { "is no rate" };
        assert!(expected.is_some() || said.contains(word), "{text:?}: {said}");
    }
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let device = "device = 'af_packet:eth0'\n";
    for (text, words) in [
        ("", "no device"),
        ("device = 'eth0'", "\"eth0\" names no kind of device"),
        ("sizes = [37]", "37 bytes is no size for a frame of kind Broadcast: 38 to 1472"),
        ("sizes = [1473]", "1473 bytes is no size"),
        ("kind = 'vrrp'\nsizes = [69]", "70 to 1472"),
        ("rate = 0", "a rate of 0 sends nothing"),
        ("fan-outs = [0]", "'--fan-outs <FAN_OUTS>': 0 is not in 1..=16383"),
        ("domains = '2M'", "'--domains <DOMAINS>': out of range: 1 to 1048576"),
        ("seconds = -1.0", "'--seconds <SECONDS>': out of range: 0.05 to 3600"),
        ("cores = [1, 2, 3]", "none, one or two cores"),
        ("speed = 1", "nic.toml: unexpected argument '--speed' found"),
        ("sizes = 60 61", "nic.toml: line 2:"),
        ("[rate]\nspeed = 1", "nic.toml: rate is no option, or not of that shape"),
    ] {
        let given = if text.starts_with("device") || text.is_empty() { "" } else { device };
        let error = parse(&format!("{given}{text}"), &[]).unwrap_err().to_string();
        assert!(error.contains(words) && error.lines().count() == 1, "{text}: {error}");
    }
}

#[test]
fn the_command_line_wins_over_the_file() {
    let file = "device = 'af_packet:eth0'\nsizes = [60, 100]\nrate = '10k'\nfan-outs = [3]\n\
                hugepages = false\neal-args = ['--no-pci', '--lcores=0,1']\n";
    let settings = parse(file, &["--sizes", "1400", "--cores", "0,1", "--rate", "max"]).unwrap();
    assert_eq!((settings.sizes, settings.cores), (vec![1400], vec![0, 1]));
    assert_eq!((settings.rate, settings.fan_outs), (Some(Rate::MAX), vec![3]));
    assert_eq!(settings.device.unwrap().to_string(), "af_packet:eth0");
    assert_eq!(
        (settings.hugepages, settings.eal_args),
        (false, vec!["--no-pci".into(), "--lcores=0,1".into()])
    );
    let settings = parse(file, &["--hugepages", "--eal-args=--no-huge"]).unwrap();
    assert_eq!((settings.hugepages, settings.eal_args), (true, vec!["--no-huge".into()]));
}

#[test]
fn of_an_option_that_is_said_twice_the_last_counts() {
    let settings = parse("device = 'af_packet:eth0'\n", &["--hugepages", "false", "--hugepages", "true"]);
    assert!(settings.unwrap().hugepages);
}

#[test]
fn the_example_for_a_real_nic_is_good() {
    let settings = parse(include_str!("../../../nic.toml"), &[]).unwrap();
    assert_eq!(settings.device.unwrap().to_string(), "pci:0000:3b:00.0");
}
