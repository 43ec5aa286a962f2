//! Targets: all members but the source.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

use bcast_domain::TepIndex;
use engine::targets::Targets;

#[test]
fn the_source_is_left_out_wherever_it_stands_and_however_the_rest_is_split() {
    let members: Vec<_> = (10..15_u16).map(TepIndex::from).collect();
    for source in 0..=5 {
        let expected: Vec<_> =
            members.iter().enumerate().filter(|&(at, _)| at != source).map(|(_, &m)| m).collect();
        let all = Targets::all(&members, source);
        assert_eq!(all.iter().collect::<Vec<_>>(), expected);
        assert_eq!(all.last(), expected.last().copied());
        for count in 0..7 {
            let (first, rest) = all.split_at(count);
            assert_eq!((first.len(), rest.is_empty()), (count.min(expected.len()), count >= expected.len()));
            assert_eq!(first.iter().chain(rest.iter()).collect::<Vec<_>>(), expected, "{source} {count}");
            let (second, rest) = rest.split_at(1);
            let parts = [first, second, rest].map(|part| part.iter().collect::<Vec<_>>());
            assert_eq!(parts.concat(), expected, "{source} {count}");
        }
    }
    assert!(Targets::all(&members[..1], 0).is_empty());
    assert_eq!(Targets::all(&members[..1], 0).last(), None);
}
