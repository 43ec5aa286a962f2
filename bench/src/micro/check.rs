//! Checks of answers: no figure of a contender counts before them.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::contenders::{Contender, Read, Write};
use super::work::{self, BURST, List, Work};

/// An answer other than the model's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// Name of the contender.
    pub contender: &'static str,
    /// Domain that was looked up.
    pub vni: u32,
    /// First member that it found.
    pub found: Option<u32>,
    /// The right first member (none if the domain is not there); `None` where that of any version would have been
    /// right.
    pub expected: Option<Option<u32>>,
}

impl std::fmt::Display for Disagreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { contender, vni, found, .. } = self;
        let expected = self.expected.map_or("one of its own".into(), |first| format!("{first:?}"));
        write!(
            f,
            "{contender} found {found:?} as the first member of VNI {vni}, not {expected}: its figures are void"
        )
    }
}

impl std::error::Error for Disagreement {}

/// Domains of the check, and as many VNIs more that come and go.
const DOMAINS: u32 = 500;
/// Changes of the first part.
const CHANGES: u32 = 10_000;
/// Bursts of the second part.
const BURSTS: usize = 5_000;

/// Compares a contender with a plain map: after each lot of changes and removals, and while another thread changes it.
///
/// # Errors
/// The first wrong answer.
pub fn agrees(contender: &Contender) -> Result<(), Disagreement> {
    let (mut writer, mut reader) = (contender.make)(DOMAINS);
    let mut model = HashMap::new();
    let mut state = 7;
    let mut pick = |below: u32| u32::try_from(work::random(&mut state) % u64::from(below)).unwrap_or(0);
    for change in 0..CHANGES {
        // Half as many VNIs as can be asked for; so the other half are never there.
        let vni = work::vni(pick(DOMAINS));
        if pick(4) == 0 {
            writer.remove(vni);
            model.remove(&vni);
        } else {
            let list = work::list(vni, u8::try_from(pick(8)).unwrap_or(0));
            writer.set(vni, &list);
            model.insert(vni, list);
        }
        if change % 20 == 0 {
            writer.publish();
            let vnis = std::array::from_fn(|_| work::vni(pick(2 * DOMAINS)));
            compare(contender, reader.as_mut(), &vnis, &model)?;
        }
    }
    let work = Work::new(DOMAINS);
    work.vnis().for_each(|vni| writer.set(vni, &work::list(vni, 0)));
    writer.publish();
    while_it_changes(contender, writer.as_mut(), reader.as_mut(), &work)?;
    let last: HashMap<_, _> = work.vnis().map(|vni| (vni, work::list(vni, 5))).collect();
    last.iter().for_each(|(&vni, list)| writer.set(vni, list));
    writer.publish();
    (0..1000).try_for_each(|number| compare(contender, reader.as_mut(), work.burst(number), &last))
}

fn compare(
    contender: &Contender,
    reader: &mut dyn Read,
    vnis: &[u32; BURST],
    model: &HashMap<u32, List>,
) -> Result<(), Disagreement> {
    let mut found = [None; BURST];
    reader.burst(vnis, &mut found);
    for (&vni, found) in vnis.iter().zip(found) {
        let expected = model.get(&vni).map(|list| list[0].get());
        if found != expected {
            return Err(Disagreement { contender: contender.name, vni, found, expected: Some(expected) });
        }
    }
    Ok(())
}

fn while_it_changes(
    contender: &Contender,
    writer: &mut dyn Write,
    reader: &mut dyn Read,
    work: &Work,
) -> Result<(), Disagreement> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                let (vni, list) = work.change(number);
                writer.set(vni, &list);
                if number % 32 == 0 {
                    writer.publish();
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        });
        let mut found = [None; BURST];
        let result = (0..BURSTS).try_for_each(|number| {
            let vnis = work.burst(number);
            reader.burst(vnis, &mut found);
            verify(contender.name, vnis, &found)
        });
        stop.store(true, Ordering::Relaxed);
        result
    })
}

/// Checks that each answer can be that of its VNI.
#[inline]
pub fn verify(
    contender: &'static str,
    vnis: &[u32; BURST],
    found: &[Option<u32>; BURST],
) -> Result<(), Disagreement> {
    match vnis.iter().zip(found).find(|&(&vni, &found)| !work::is_first_of(vni, found)) {
        None => Ok(()),
        Some((&vni, &found)) => Err(Disagreement { contender, vni, found, expected: None }),
    }
}
