use bcast_domain::ArrayPublisher;

use super::*;

fn tep(last: u8) -> Tep {
    Tep::new([198, 18, 0, last].into()).unwrap()
}

type Array = Vec<Option<(Tep, Option<MacAddr>)>>;

/// TEPs as they were published last.
struct Table(ArrayPublisher<Array>);

impl TepTable for Table {
    fn replace(&mut self, teps: &[Option<(Tep, Option<MacAddr>)>]) -> Epoch {
        self.0.replace(teps.to_vec())
    }

    fn reclaim(&mut self) {
        self.0.reclaim();
    }
}

fn underlay(follows_kernel: bool) -> Arc<Underlay> {
    let (_domains, publisher, _readers) = bcast_domain::table_with_capacity(Vec::new(), 16);
    Underlay::new(None, Box::new(Table(publisher)), follows_kernel)
}

#[test]
fn teps_are_registered_and_shown_while_nobody_answers_for_the_kernel() {
    let underlay = underlay(true);
    let index = TepIndex::new(0).unwrap();
    let first = underlay.set_teps(&[(index, tep(1))], &[]);
    let shown = underlay.get(index).unwrap();
    assert_eq!((shown.gateway, shown.mac), (None, None));
    assert!(underlay.set_teps(&[], &[index]) > first);
    assert_eq!(underlay.get(index), None);
    for round in 0..20 {
        underlay.set_teps(&[(index, tep(round + 1))], &[]);
        underlay.set_teps(&[], &[index]);
    }
}

#[test]
fn who_waits_for_next_hops_is_woken_by_the_end_or_by_silence() {
    let underlay = underlay(true);
    underlay.set_teps(&[(TepIndex::new(0).unwrap(), tep(1))], &[]);
    let waiting = underlay.clone();
    let long = Duration::from_secs(3_600);
    let waiter = std::thread::spawn(move || waiting.settle(long));
    underlay.stop();
    waiter.join().unwrap();
    let silent = self::underlay(true);
    silent.set_teps(&[(TepIndex::new(0).unwrap(), tep(1))], &[]);
    silent.silent.store(true, Relaxed);
    silent.settle(long);
    self::underlay(false).settle(long);
}

#[test]
fn health_is_that_of_the_task_where_there_is_one() {
    let followed = underlay(true);
    assert_eq!(followed.health(), Health { answers: true, asked: false });
    followed.silent.store(true, Relaxed);
    assert!(!followed.health().answers);
    assert_eq!(underlay(false).health(), Health { answers: true, asked: true });
}
