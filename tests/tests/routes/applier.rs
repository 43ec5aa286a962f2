//! The routes' task at work, as the daemon runs it, and what it is told.

use std::net::IpAddr;

use ctl_api::model::{Attachment, Binding, Event, Havip, HavipEntry, HavipState, Holder, TepEntry};
use ctl_routes::{Figures, Routes, RoutesConfig, Unusable};
use testkit::{namespace::Namespace, process::wait_for};
use tokio::{runtime::Runtime, sync::mpsc};

/// VNI 5001 has table 101, VNI 5002 table 102; public addresses have table 117.
pub const CONFIG: &str = "vni = [{vni = 5001, table = 101}, {vni = 5002, table = 102}]";

/// The routes' task, at work in a namespace.
pub struct Applier {
    pub routes: Routes,
    pub unusable: mpsc::Receiver<Unusable>,
    _runtime: Runtime,
}

impl Applier {
    pub fn start(namespace: &Namespace, config: &str) -> Self {
        let config: RoutesConfig = toml::from_str(config).expect("the configuration is right");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        // Its sockets are opened here, and stay in the namespace.
        let (routes, unusable) = namespace.inside(|| {
            let _entered = runtime.enter();
            let (routes, unusable, task) = Routes::new(config).expect("a netlink socket");
            runtime.spawn(task);
            (routes, unusable)
        });
        Self { routes, unusable, _runtime: runtime }
    }

    /// Waits until it goes as expected.
    pub fn wait_for(&self, what: &str, expected: impl Fn(Figures) -> bool) -> Figures {
        wait_for(what, || Some(self.routes.figures()).filter(|figures| expected(*figures)))
    }
}

/// A HAVIP and, if it has one, its holder's TEP.
pub fn havip(name: &str, vni: u32, address: &str, eip: Option<&str>, holder: Option<&str>) -> Event {
    let address: IpAddr = address.parse().expect("an address");
    let subnet = if address.is_ipv4() { "10.0.0.0/24" } else { "2001:db8:a::/64" };
    let holder = holder.map(|tep| Holder {
        instance: "vm1".parse().expect("a name"),
        mac: "52:54:00:00:00:01".parse().expect("a MAC"),
        tep: tep.parse().expect("a TEP"),
    });
    let attachment = |Holder { instance, mac, tep }| Attachment { instance, mac, teps: vec![tep] };
    let havip = Havip {
        name: name.parse().expect("a name"),
        vni: vni.into(),
        subnet: subnet.parse().expect("a subnet"),
        address,
        attachments: holder.clone().map(attachment).into_iter().collect(),
        vrids: Vec::new(),
        refresh_s: None,
        group: None,
        eip: eip.map(|eip| eip.parse().expect("an address")),
    };
    let state = if holder.is_some() { HavipState::Bound } else { HavipState::Unbound };
    let binding = Binding { state, holder, generation: 7, ..Binding::unbound(0) };
    Event::HavipSet(Box::new(HavipEntry { havip, binding }))
}

/// A TEP and the gateways to it.
pub fn tep(address: &str, next_hop: Option<&str>, next_hop6: Option<&str>) -> Event {
    Event::TepSet(TepEntry {
        address: address.parse().expect("a TEP"),
        name: None,
        limit: Default::default(),
        route_gateway: next_hop.map(|next_hop| next_hop.parse().expect("an address")),
        route_gateway6: next_hop6.map(|next_hop| next_hop.parse().expect("an address")),
    })
}
