//! The task on a simulated kernel: lost notifications, late answers, refusals, silence. Time is simulated, too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::io::{self, Write};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bcast_domain::{Epoch, Tep};
use netlink::{DEADLINE, Notice, RequestError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};
use underlay::{Answer, Fatal, Neighbour, Request, Route, Stack, Task, Underlay};
use wire::MacAddr;

mod common;
use common::{
    NODE, PORT, TAP, hop, links, mac, neighbour_changed, refused, route_changed, rules, tep, unanswered,
};

/// Kernel's treatment of a request.
#[derive(Clone, Copy)]
enum Treatment {
    Served,
    /// The answer of this moment comes after a while.
    Late(Duration),
    Refused(i32),
    Hanging,
}

use Treatment::{Hanging, Late, Refused, Served};

type Treat = Box<dyn FnMut(&Request) -> Treatment>;

#[derive(Default)]
struct State {
    routes: HashMap<Tep, IpAddr>,
    hosts: HashMap<IpAddr, MacAddr>,
    kept: HashSet<IpAddr>,
    log: Vec<Request>,
    treat: Option<Treat>,
    port_is_gone: bool,
    opened: usize,
    cleared: bool,
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        match request {
            Request::Links => Answer::Links(match self.port_is_gone {
                true => links()[..1].to_vec(),
                false => links(),
            }),
            Request::Tap(_) => Answer::Tap { missing: Vec::new(), trouble: None },
            Request::Rules => Answer::Rules { rules: rules(), missing: 0 },
            Request::Gateway => Answer::Done,
            Request::Neighbours => {
                let neighbour = |hop| Neighbour { mac: self.hosts.get(hop).copied(), is_kept: true };
                Answer::Neighbours(self.kept.iter().map(|hop| (*hop, neighbour(hop))).collect())
            }
            Request::Route(tep) => {
                Answer::Route(self.routes.get(tep).map(|&hop| Route { hop, by_object: false }))
            }
            Request::Resolve(hop) => {
                self.kept.insert(*hop);
                Answer::Resolved { mac: self.hosts.get(hop).copied(), asked: true }
            }
            Request::Forget(hop) => {
                self.kept.remove(hop);
                Answer::Done
            }
        }
    }
}

struct Kernel {
    state: Rc<RefCell<State>>,
    notices: UnboundedReceiver<io::Result<Notice>>,
}

impl Stack for Kernel {
    async fn ask(&self, request: &Request) -> Result<Answer, RequestError> {
        let (treatment, answer) = {
            let mut state = self.state.borrow_mut();
            state.log.push(request.clone());
            let treatment = state.treat.as_mut().map_or(Served, |treat| treat(request));
            (treatment, matches!(treatment, Served | Late(_)).then(|| state.answer(request)))
        };
        match treatment {
            Late(delay) => sleep(delay).await,
            // As every request of the host's kernel: it ends at its deadline.
            Hanging => _ = timeout(DEADLINE, pending::<()>()).await,
            Served | Refused(_) => {}
        }
        match treatment {
            Refused(code) => Err(refused(code)),
            _ => answer.ok_or_else(unanswered),
        }
    }

    async fn notice(&mut self) -> io::Result<Notice> {
        match self.notices.recv().await {
            Some(notice) => notice,
            None => pending().await,
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.state.borrow_mut().opened += 1;
        Ok(())
    }

    async fn clear(&self) {
        self.state.borrow_mut().cleared = true;
    }
}

/// A node with a task that runs, and its kernel.
struct Lab {
    underlay: Arc<Underlay>,
    state: Rc<RefCell<State>>,
    notices: UnboundedSender<io::Result<Notice>>,
    links: Arc<Mutex<Vec<bool>>>,
    fatal: Arc<Mutex<Option<Fatal>>>,
}

impl Lab {
    /// Runs a test beside the task, until the task has ended. The last octet of a TEP's route is its own, where it has none.
    async fn run(test: impl AsyncFnOnce(&Lab)) {
        let underlay = common::underlay(true);
        underlay.follow(TAP, Some(PORT), Some(NODE));
        let (notices, receiver) = unbounded_channel();
        let state: Rc<RefCell<State>> = Rc::default();
        let links: Arc<Mutex<Vec<bool>>> = Arc::default();
        let fatal: Arc<Mutex<Option<Fatal>>> = Arc::default();
        let (heard, ended) = (links.clone(), fatal.clone());
        let task = Task::new(
            underlay.clone(),
            Kernel { state: state.clone(), notices: receiver },
            Box::new(move |up| heard.lock().unwrap().push(up)),
            Box::new(move |why| *ended.lock().unwrap() = Some(why)),
        );
        let lab = Lab { underlay, state, notices, links, fatal };
        tokio::join!(task.run(), async {
            test(&lab).await;
            lab.underlay.stop();
        });
    }

    /// TEPs `0..count`, each behind a next hop with its number, are registered.
    async fn add(&self, count: u8) {
        for number in 0..count {
            self.set_route(number, number);
            self.state.borrow_mut().hosts.insert(hop(number), mac(number + 1));
        }
        // The array is published once in 10 ms on average; the thread would wait for that in real time.
        sleep(Duration::from_millis(100)).await;
        let teps: Vec<_> = (0..count).map(tep).collect();
        self.underlay.set_teps(&teps, &[]);
        self.underlay.loaded();
    }

    fn set_route(&self, number: u8, to: u8) {
        self.state.borrow_mut().routes.insert(tep(number).1, hop(to));
    }

    fn treat(&self, treat: impl FnMut(&Request) -> Treatment + 'static) {
        self.state.borrow_mut().treat = Some(Box::new(treat));
    }

    fn tell(&self, notice: Notice) {
        self.notices.send(Ok(notice)).unwrap();
    }

    fn is_at(&self, number: u8, to: u8) -> bool {
        let found = self.underlay.get(tep(number).0);
        found.is_some_and(|found| found.gateway == Some(hop(to)) && found.mac == Some(mac(to + 1).0))
    }

    /// Number of requests like this one so far.
    fn asked(&self, like: impl Fn(&Request) -> bool) -> usize {
        self.state.borrow().log.iter().filter(|request| like(request)).count()
    }
}

/// Waits for a condition, for a simulated minute at most.
async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("waited for a minute: {what}");
}

/// Kinds of requests, by number.
fn kind(request: &Request) -> usize {
    match request {
        Request::Links => 0,
        Request::Tap(_) => 1,
        Request::Rules => 2,
        Request::Gateway => 3,
        Request::Neighbours => 4,
        Request::Route(_) => 5,
        Request::Resolve(_) => 6,
        Request::Forget(_) => 7,
    }
}

/// Treats the first requests of a kind in a way of their own.
fn first(count: usize, wanted: usize, treatment: Treatment) -> impl FnMut(&Request) -> Treatment {
    let mut left = count;
    move |request| match kind(request) == wanted && left > 0 {
        true => {
            left -= 1;
            treatment
        }
        false => Served,
    }
}

/// The log's lines, while the guard lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn has(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.0.lock().unwrap()).contains(text)
    }
}

#[tokio::test(start_paused = true)]
async fn lost_notifications_are_made_up_for_by_a_read_of_everything() {
    let (log, _guard) = Log::start();
    Lab::run(async |lab| {
        lab.add(3).await;
        wait_for("next hops", || (0..3).all(|number| lab.is_at(number, number))).await;
        lab.set_route(0, 2);
        lab.state.borrow_mut().hosts.insert(hop(1), mac(9));
        lab.state.borrow_mut().kept.remove(&hop(2));
        let before = lab.state.borrow().log.len();
        lab.tell(Notice::Lost);
        wait_for("the new route", || lab.is_at(0, 2) && lab.is_at(2, 2)).await;
        let found = lab.underlay.get(tep(1).0).and_then(|found| found.mac);
        assert_eq!(found, Some(mac(9).0));
        let log = lab.state.borrow().log[before..].iter().map(kind).take(5).collect::<Vec<_>>();
        assert_eq!(log, [0, 1, 2, 3, 4], "links, TAP, rules, gateway, neighbours");
        assert_eq!(lab.state.borrow().kept, HashSet::from([hop(1), hop(2)]));
    })
    .await;
    assert!(log.has("netlink notifications were lost"));
}

#[tokio::test(start_paused = true)]
async fn a_socket_for_notifications_that_fails_is_opened_anew_and_counts_as_a_loss() {
    Lab::run(async |lab| {
        lab.add(1).await;
        wait_for("the next hop", || lab.is_at(0, 0)).await;
        lab.state.borrow_mut().hosts.insert(hop(3), mac(4));
        lab.set_route(0, 3);
        lab.notices.send(Err(io::ErrorKind::ConnectionReset.into())).unwrap();
        wait_for("the new route", || lab.is_at(0, 3)).await;
        assert_eq!(lab.state.borrow().opened, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_does_not_hide_what_a_notification_told_meanwhile() {
    Lab::run(async |lab| {
        lab.treat(first(1, 5, Late(Duration::from_millis(1_900))));
        lab.add(1).await;
        wait_for("the lookup", || lab.asked(|request| kind(request) == 5) == 1).await;
        lab.state.borrow_mut().hosts.insert(hop(3), mac(4));
        lab.set_route(0, 3);
        lab.tell(route_changed(tep(0).1));
        wait_for("the route of now", || lab.is_at(0, 3)).await;
        // The same of a next hop's MAC address.
        lab.treat(first(1, 6, Late(Duration::from_millis(1_900))));
        lab.tell(neighbour_changed(hop(3), None));
        let before = lab.asked(|request| kind(request) == 6);
        wait_for("the question", || lab.asked(|request| kind(request) == 6) > before).await;
        lab.state.borrow_mut().hosts.insert(hop(3), mac(9));
        lab.tell(neighbour_changed(hop(3), Some(mac(9))));
        let at = |wanted: MacAddr| lab.underlay.get(tep(0).0).and_then(|found| found.mac) == Some(wanted.0);
        wait_for("the address of now", || at(mac(9))).await;
        sleep(DEADLINE).await;
        assert!(at(mac(9)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn answers_in_reverse_order_are_each_taken_for_their_own_request() {
    Lab::run(async |lab| {
        let mut delay = Duration::from_millis(1_990);
        lab.treat(move |_| {
            delay = delay.checked_sub(Duration::from_millis(10)).unwrap_or(Duration::from_millis(1_990));
            Late(delay)
        });
        lab.add(100).await;
        wait_for("next hops", || (0..100).all(|number| lab.is_at(number, number))).await;
        assert!(lab.underlay.health().answers);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn refused_requests_of_every_kind_are_made_again_after_a_pause() {
    const CODES: [i32; 5] = [-1, -2, -16, -105, -100];
    for (kind_of, code) in (0..7).flat_map(|kind| CODES.map(|code| (kind, code))) {
        Lab::run(async |lab| {
            lab.treat(move |request| if kind(request) == kind_of { Refused(code) } else { Served });
            lab.add(2).await;
            sleep(Duration::from_secs(10)).await;
            let asked = lab.asked(|request| kind(request) == kind_of);
            // Of each TEP or next hop twice a second at most; what is read in full, every five seconds.
            assert!((1..=50).contains(&asked), "kind {kind_of} refused with {code}: {asked} requests");
            assert!(lab.underlay.health().answers, "a refusal is an answer");
            lab.state.borrow_mut().treat = None;
            wait_for("next hops", || lab.is_at(0, 0) && lab.is_at(1, 1)).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_kernel_that_hangs_at_a_request_of_any_kind_is_logged_and_asked_again() {
    for kind_of in 0..7 {
        let (log, _guard) = Log::start();
        Lab::run(async |lab| {
            lab.treat(first(2, kind_of, Hanging));
            lab.add(2).await;
            wait_for("silence", || !lab.underlay.health().answers).await;
            assert!(log.has("the kernel does not answer"), "kind {kind_of}");
            // The node goes on: nobody waits for next hops, and TEPs are registered and published meanwhile.
            lab.underlay.settle(Duration::from_secs(3_600));
            sleep(Duration::from_millis(100)).await;
            let before = lab.underlay.set_teps(&[tep(9)], &[]);
            assert!(lab.underlay.get(tep(9).0).is_some() && before > Epoch::default());
            wait_for("next hops", || lab.is_at(0, 0) && lab.is_at(1, 1)).await;
            wait_for("an end of silence", || lab.underlay.health().answers).await;
            assert!(log.has("the kernel answers again"), "kind {kind_of}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_next_hop_that_the_kernel_was_too_slow_to_forget_is_forgotten_later() {
    Lab::run(async |lab| {
        lab.add(1).await;
        wait_for("the next hop", || lab.is_at(0, 0)).await;
        lab.treat(first(1, 7, Hanging));
        sleep(Duration::from_millis(100)).await;
        lab.underlay.set_teps(&[], &[tep(0).0]);
        wait_for("silence", || !lab.underlay.health().answers).await;
        assert!(lab.state.borrow().kept.contains(&hop(0)));
        wait_for("the end of the entry", || lab.state.borrow().kept.is_empty()).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn all_next_hops_were_asked_for_once_the_kernel_answered_and_not_before() {
    Lab::run(async |lab| {
        lab.treat(first(1, 6, Late(Duration::from_millis(1_500))));
        lab.add(2).await;
        wait_for("the question", || lab.asked(|request| kind(request) == 6) > 0).await;
        assert!(!lab.underlay.health().asked);
        wait_for("the answer", || lab.underlay.health().asked).await;
        assert!(lab.is_at(0, 0) || lab.is_at(1, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_gone_when_notifications_were_lost_ends_the_daemon_once() {
    Lab::run(async |lab| {
        wait_for("the link", || *lab.links.lock().unwrap() == [true]).await;
        lab.state.borrow_mut().port_is_gone = true;
        lab.tell(Notice::Lost);
        wait_for("the end", || *lab.fatal.lock().unwrap() == Some(Fatal::Port)).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_stopped_clears_the_kernels_rules_unless_the_kernel_is_silent() {
    let mut state = None;
    Lab::run(async |lab| {
        state = Some(lab.state.clone());
        lab.add(1).await;
        wait_for("the next hop", || lab.is_at(0, 0)).await;
    })
    .await;
    assert!(state.take().unwrap().borrow().cleared);
    Lab::run(async |lab| {
        state = Some(lab.state.clone());
        lab.treat(|_| Hanging);
        lab.add(1).await;
        wait_for("silence", || !lab.underlay.health().answers).await;
    })
    .await;
    assert!(!state.unwrap().borrow().cleared);
}
