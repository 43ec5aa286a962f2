//! `havip`, as a person or a program sees it.

#![allow(clippy::unwrap_used)]

mod support;

use ctl_api::model::{Attachment, Havip};
use ctl_api::proto;
use support::node::Node;
use support::{model, tep};

/// 2026-11-23T01:04:05.007Z
const T: u64 = 1_795_395_845_007;

fn holder(instance: &str, last: u8) -> Option<proto::Holder> {
    Some(proto::Holder {
        instance: instance.to_owned(),
        mac: vec![0x52, 0x54, 0, 0, 0, last],
        tep: vec![198, 18, 0, last],
    })
}

fn havip(name: &str, address: &str) -> Havip {
    let attachment = |instance: &str, last: u8| Attachment {
        instance: instance.parse().unwrap(),
        mac: format!("52:54:00:00:00:{last:02x}").parse().unwrap(),
        teps: vec![tep(last)],
    };
    Havip {
        name: name.parse().unwrap(),
        vni: 5001.into(),
        subnet: "10.0.0.0/24".parse().unwrap(),
        address: address.parse().unwrap(),
        attachments: vec![attachment("vm1", 1), attachment("vm2", 2)],
        vrids: vec![51],
        refresh_s: Some(30),
        eip: Some("203.0.113.7".parse().unwrap()),
        group: Some("election".parse().unwrap()),
    }
}

/// Two hypervisors, a domain, a HAVIP `web` that vm1 holds and has taken from vm2, and another one, `new`.
fn node() -> Node {
    let mut model = model(&[(1, "hv1"), (2, "")], &[(5001, "vpc-a", &[1, 2]), (5002, "", &[])]);
    let new = Havip {
        attachments: vec![],
        vrids: vec![],
        refresh_s: None,
        eip: None,
        group: None,
        ..havip("new", "10.0.0.101")
    };
    model.havips = [havip("web", "10.0.0.100"), new].map(|havip| (havip.name.clone(), havip)).into();
    let node = Node::with(model);
    {
        let mut script = node.script.lock().unwrap();
        let binding = proto::Binding {
            state: proto::HavipState::Bound.into(),
            holder: holder("vm1", 1),
            previous: holder("vm2", 2),
            since_unix_ms: T,
            why: proto::Why::Garp.into(),
            moves: 3,
            generation: 42,
            vlan_tags: None,
        };
        let unbound = proto::Binding {
            state: proto::HavipState::Unbound.into(),
            since_unix_ms: T,
            ..Default::default()
        };
        script.bindings =
            [("web", binding), ("new", unbound)].map(|(name, b)| (name.parse().unwrap(), b)).into();
    }
    node
}

fn run(node: &Node, args: &str) -> (i32, String, String) {
    node.run(&args.split(' ').collect::<Vec<_>>())
}

#[test]
fn changes_say_what_they_did_and_what_was_so_already() {
    let node = node();
    let create = "havip create db --vni 5002 --subnet fd00:1::/64 --address fd00:1::64";
    for (args, words) in [
        (&*format!("{create} --vrid 51,52 --refresh 5m"), "havip db is there (revision 2)\n"),
        (create, "havip db is there already\n"),
        (
            "havip attach db --instance vm7 --mac 52-54-00-00-00-07 --tep hv1",
            "havip db: vm7 is attached, as 52:54:00:00:00:07 on hv1 (revision 3)\n",
        ),
        (
            "havip attach db --instance vm7 --mac 52:54:00:00:00:07 --tep 198.18.0.1",
            "havip db: vm7 is attached already, as 52:54:00:00:00:07 on 198.18.0.1\n",
        ),
        (
            "havip attach db --instance vm7 --mac 52:54:00:00:00:07 --tep hv1,198.18.0.2",
            "havip db: vm7 is attached, as 52:54:00:00:00:07 on hv1 and 198.18.0.2 (revision 4)\n",
        ),
        ("havip bind-eip db 2001:db8::7", "havip db: 2001:db8::7 goes where it goes (revision 5)\n"),
        ("havip bind-eip db 2001:db8::7", "havip db: 2001:db8::7 is its EIP already\n"),
        ("havip unbind-eip db", "havip db has no EIP any more (revision 6)\n"),
        ("havip unbind-eip db --if-exists", "havip db has no EIP\n"),
        ("havip detach db --instance vm7", "havip db: vm7 is detached (revision 7)\n"),
        ("havip detach db --instance vm7 --if-exists", "havip db: vm7 is not attached\n"),
        ("havip unfreeze db", "havip db is not frozen\n"),
        ("havip group db default/db", "havip db is in the group default/db (revision 8)\n"),
        ("havip group db default/db", "havip db is in the group default/db already\n"),
        ("havip group db --rm", "havip db is in no group any more (revision 9)\n"),
        ("havip group db --rm --if-exists", "havip db is in no group\n"),
        ("havip rm db", "havip db is removed (revision 10)\n"),
        ("havip rm db --if-exists", "havip db is not there\n"),
        (
            "-o json havip rm db --if-exists",
            "{\"revision\":10,\"changed\":0,\"notes\":[\"havip db is not there\"]}\n",
        ),
        ("domain rm 5001 --force", "domain 5001 is removed (revision 11)\n"),
        ("havip list", "NAME  VNI  ADDRESS  STATE  HOLDER  TEP  SINCE  EIP\n"),
    ] {
        assert_eq!(run(&node, args), (0, words.to_owned(), String::new()), "{args}");
    }
}

#[test]
fn a_refusal_is_one_line_and_status_1_and_changes_nothing() {
    let node = node();
    let full = (0..9).map(|i| {
        let attach = format!("havip attach new --instance i{i} --mac 52:54:00:00:01:{i:02} --tep hv1");
        run(&node, &attach)
    });
    assert!(full.into_iter().all(|(status, ..)| status == 0));
    assert_eq!(run(&node, "havip attach new --instance i9 --mac 52:54:00:00:01:09 --tep hv1").0, 0);
    let before = node.model();
    for (args, reason) in [
        (
            "havip create x --vni 5001 --subnet 10.0.0.0/24 --address 10.0.1.1",
            "address 10.0.1.1 is not in subnet 10.0.0.0/24; give one of that subnet",
        ),
        (
            "havip create x --vni 5001 --subnet 10.0.0.0/24 --address 10.0.0.255",
            "address 10.0.0.255 is the network or broadcast address of 10.0.0.0/24; give a host's address",
        ),
        (
            "havip create x --vni 5001 --subnet 10.0.0.0/24 --address fd00::1",
            "address fd00::1 is not in subnet 10.0.0.0/24; give one of that subnet",
        ),
        (
            "havip create x --vni 5001 --subnet 224.0.0.0/4 --address 224.0.0.18",
            "address 224.0.0.18 is the address of no single host; give a unicast address",
        ),
        (
            "havip create x --vni 5001 --subnet 10.0.0.0/24 --address 10.0.0.100",
            "address 10.0.0.100 is that of havip web",
        ),
        (
            "havip create x --vni 1 --subnet 10.0.0.0/24 --address 10.0.0.9",
            "there is no domain 1: create it first",
        ),
        (
            "havip create web --vni 5002 --subnet 10.0.0.0/24 --address 10.0.0.100",
            "havip web is there with another address",
        ),
        (
            "havip attach new --instance i10 --mac 52:54:00:00:01:10 --tep hv1",
            "11 attachments are over the limit of 10",
        ),
        (
            "havip attach new --instance i0 --mac 52:54:00:00:01:00 --tep hv9",
            "tep hv9 is not registered: add it first",
        ),
        (
            "havip attach new --instance i0 --mac 52:54:00:00:01:01 --tep hv1",
            "instances i0 and i1 have the same MAC 52:54:00:00:01:01 on TEP 198.18.0.1; each needs its own",
        ),
        (
            "havip attach web --instance vm2 --mac 52:54:00:00:00:02 --tep hv1",
            "instances vm1 and vm2 are both on TEP 198.18.0.1; with VRRP ids the holder is told by its TEP, so attach \
             them on different ones, or state no VRRP id",
        ),
        (
            "havip attach new --instance i0 --mac 52:54:00:00:01:00 --tep hv1,198.18.0.2,198.18.0.1,hv1,hv1",
            "instance i0 is given 5 TEPs; it runs on one, or on two while it migrates",
        ),
        ("havip attach x --instance i --mac 52:54:00:00:01:00 --tep hv1", "there is no havip x"),
        ("havip bind-eip new 203.0.113.7", "that EIP is bound to havip web"),
        ("havip bind-eip web 203.0.113.9", "havip web has EIP 203.0.113.7"),
        ("havip bind-eip x 203.0.113.9", "there is no havip x"),
        (
            "havip bind-eip new 0.0.0.0",
            "EIP 0.0.0.0 is the address of no single host; give a unicast address",
        ),
        ("havip unbind-eip x", "there is no havip x"),
        ("havip detach x --instance i", "there is no havip x"),
        ("havip unfreeze x", "there is no havip x"),
        ("havip show x", "there is no havip x"),
        ("havip history x", "there is no havip x"),
        ("domain rm 5001", "domain 5001 has HAVIPs: --force removes them too"),
        ("webhook dead noc", "there is no webhook noc"),
        ("webhook retry noc", "there is no webhook noc"),
    ] {
        let (status, printed, said) = run(&node, args);
        let said = said.replacen("change 1: ", "", 1);
        assert_eq!((status, &*printed, said), (1, "", format!("bcastctl: {reason}\n")), "{args}");
    }
    assert_eq!(node.model(), before);
}

#[test]
fn wrong_usage_is_status_2() {
    let node = node();
    let create = "havip create x --vni 5001";
    for (args, words) in [
        ("havip create", "required"),
        (create, "--subnet <SUBNET>"),
        (
            &*format!("{create} --subnet 10.0.0.0 --address 10.0.0.1"),
            "is not a subnet; write it like 10.0.0.0/24",
        ),
        (&*format!("{create} --subnet 10.0.0.1/24 --address 10.0.0.1"), "the subnet is 10.0.0.0/24"),
        (&*format!("{create} --subnet 10.0.0.0/33 --address 10.0.0.1"), "too long; at most 32 bits"),
        (
            &*format!("{create} --subnet 10.0.0.0/24 --address web"),
            "is not an IP address; write it like 10.0.0.100",
        ),
        (
            &*format!("{create} --subnet 10.0.0.0/24 --address 10.0.0.1 --vrid 0"),
            "is not a VRRP id; give 1 to 255",
        ),
        (
            &*format!("{create} --subnet 10.0.0.0/24 --address 10.0.0.1 --vrid 256"),
            "is not a VRRP id; give 1 to 255",
        ),
        (
            &*format!("{create} --subnet 10.0.0.0/24 --address 10.0.0.1 --refresh 2d"),
            "is not a time; write whole",
        ),
        (
            &*format!("{create} --subnet 10.0.0.0/24 --address 10.0.0.1 --refresh 0s"),
            "out of range: 1s to 24h",
        ),
        (
            "havip create 5001 --vni 5001 --subnet 10.0.0.0/24 --address 10.0.0.1",
            "reads as an address or a number",
        ),
        ("havip attach web --instance vm3 --mac 52:54:00:00:00:03", "--tep <TEP>"),
        (
            "havip attach web --instance vm3 --mac ff:ff:ff:ff:ff:ff --tep hv1",
            "is every interface's MAC address",
        ),
        ("havip attach web --instance vm3 --mac 00:00:00:00:00:00 --tep hv1", "00:00:00:00:00:00"),
        ("havip attach web --instance vm3 --mac 52:54:00 --tep hv1", "52:54:00"),
        ("havip bind-eip web", "required"),
        ("havip bind-eip web eip", "is not an IP address; write it like 10.0.0.100"),
        ("havip group web", "required"),
        ("havip group web a --rm", "cannot be used with"),
        ("havip group web 5001", "reads as an address or a number"),
        ("webhook", "Usage: bcastctl webhook"),
    ] {
        let (status, _, said) = run(&node, args);
        assert_eq!(status, 2, "{args}");
        assert!(said.contains(words), "{args}: {said}");
    }
}

#[test]
fn a_havip_is_shown_with_its_holder_and_what_may_be_wrong() {
    let node = node();
    {
        let mut script = node.script.lock().unwrap();
        let (code, text) = ("never-heard".to_owned(), "vm2 on 198.18.0.2 was never heard".to_owned());
        script.diagnosis = vec![proto::Diagnosis { code, text }];
        script.announced = vec![proto::LastAnnounced {
            instance: "vm1".to_owned(),
            mac: vec![0x52, 0x54, 0, 0, 0, 1],
            tep: vec![198, 18, 0, 1],
            claim_unix_ms: T,
            advert_unix_ms: T + 1000,
            advert_interval_cs: 100,
            advert_priority: 150,
            ..Default::default()
        }];
    }
    let table = "HAVIP
name        web
vni         5001
address     10.0.0.100 of 10.0.0.0/24
state       bound
holder      vm1, 52:54:00:00:00:01 on 198.18.0.1
since       2026-11-23T01:04:05.007Z
why         garp
previous    vm2, 52:54:00:00:00:02 on 198.18.0.2
moves       3
generation  42
vrids       51
refresh     every 30 s
eip         203.0.113.7
group       election

INSTANCE  MAC                TEP         LAST CLAIM                LAST USE  LAST ADVERT
vm1       52:54:00:00:00:01  198.18.0.1  2026-11-23T01:04:05.007Z  -         2026-11-23T01:04:06.007Z, priority 150
vm2       52:54:00:00:00:02  198.18.0.2  -                         -         -

DIAGNOSIS
vm2 on 198.18.0.2 was never heard
";
    assert_eq!(run(&node, "havip show web"), (0, table.to_owned(), String::new()));
    let json = concat!(
        r#"{"name":"web","vni":5001,"address":"10.0.0.100","state":"bound","#,
        r#""holder":{"instance":"vm1","mac":"52:54:00:00:00:01","tep":"198.18.0.1"},"#,
        r#""since":"2026-11-23T01:04:05.007Z","generation":42,"#,
        r#""previous":{"instance":"vm2","mac":"52:54:00:00:00:02","tep":"198.18.0.2"},"#,
        r#""why":"garp","moves":3,"subnet":"10.0.0.0/24","vrids":[51],"refresh_s":30,"eip":"203.0.113.7","#,
        r#""group":"election","attachments":[{"instance":"vm1","mac":"52:54:00:00:00:01","teps":["198.18.0.1"]},"#,
        r#"{"instance":"vm2","mac":"52:54:00:00:00:02","teps":["198.18.0.2"]}],"#,
        r#""diagnosis":[{"code":"never-heard","text":"vm2 on 198.18.0.2 was never heard"}],"#,
        r#""announced":[{"instance":"vm1","mac":"52:54:00:00:00:01","tep":"198.18.0.1","#,
        r#""claim":"2026-11-23T01:04:05.007Z","use":null,"#,
        r#""advert":"2026-11-23T01:04:06.007Z","advert_interval_cs":100,"advert_priority":150}]}"#,
        "\n"
    );
    assert_eq!(run(&node, "-o json havip show web"), (0, json.to_owned(), String::new()));
}

#[test]
fn a_havip_is_created_with_its_attachments_in_one_step() {
    let node = node();
    let create = "havip create db --vni 5001 --subnet 10.0.0.0/24 --address 10.0.0.7";
    let one = "--attach instance=default/db-0,mac=5254.0000.0001,tep=hv1+198.18.0.2";
    let two = "--attach tep=198.18.0.2,mac=52:54:00:00:00:02,instance=vm2";
    for (args, words) in [
        (format!("{create} {one} {two}"), "havip db is there (revision 2)\n"),
        (create.to_owned(), "havip db is there already\n"),
        (format!("{create} {two}"), "havip db is there (revision 3)\n"),
    ] {
        assert_eq!(run(&node, &args), (0, words.to_owned(), String::new()), "{args}");
        let script = node.script.lock().unwrap();
        let attachments = &script.model.havips[&"db".parse().unwrap()].attachments;
        let attached: Vec<_> = attachments.iter().map(|a| (a.instance.as_str(), a.teps.len())).collect();
        match attached[..] {
            [("default/db-0", 2), ("vm2", 1)] => assert!(script.model.revision == 2, "{args}"),
            _ => assert_eq!((&attached[..], script.model.revision), (&[("vm2", 1)][..], 3), "{args}"),
        }
    }
    let (status, _, said) = run(&node, &format!("{create} --attach instance=vm1,mac=525400000001"));
    assert_eq!(status, 2);
    assert!(said.contains("no tep in \"instance=vm1,mac=525400000001\"; write instance=vm1,mac="), "{said}");
}

#[test]
fn all_havips_are_listed_by_name() {
    let node = node();
    let table = "NAME  VNI   ADDRESS     STATE    HOLDER  TEP         SINCE                     EIP
new   5001  10.0.0.101  unbound  -       -           2026-11-23T01:04:05.007Z  -
web   5001  10.0.0.100  bound    vm1     198.18.0.1  2026-11-23T01:04:05.007Z  203.0.113.7
";
    assert_eq!(run(&node, "havip list"), (0, table.to_owned(), String::new()));
    let (_, json, _) = run(&node, "-o json havip list");
    let new = concat!(
        r#"[{"name":"new","vni":5001,"address":"10.0.0.101","state":"unbound","holder":null,"#,
        r#""since":"2026-11-23T01:04:05.007Z","generation":0,"previous":null,"why":null,"moves":0,"#,
        r#""subnet":"10.0.0.0/24","vrids":[],"refresh_s":null,"eip":null,"group":null,"attachments":[]},"#,
        "\n"
    );
    assert!(json.starts_with(new), "{json}");
    assert_eq!(json.lines().count(), 2);
}

fn events() -> Vec<proto::HavipEvent> {
    let moved = proto::HavipEvent {
        havip: "web".to_owned(),
        vni: 5001,
        address: vec![10, 0, 0, 100],
        eip: Some(vec![203, 0, 113, 7]),
        kind: proto::HavipEventKind::Moved.into(),
        generation: 42,
        unix_ms: T,
        holder: holder("vm1", 1),
        previous: holder("vm2", 2),
        why: proto::Why::Garp.into(),
        ..Default::default()
    };
    let offender = proto::Offender { mac: vec![0x33, 0x33, 0, 0, 0, 1], tep: vec![198, 18, 0, 9], count: 12 };
    let spoof = proto::HavipEvent {
        kind: proto::HavipEventKind::Spoof.into(),
        generation: 43,
        why: 0,
        previous: None,
        detail: "a gratuitous ARP".to_owned(),
        offender: Some(offender),
        ..moved.clone()
    };
    vec![moved, spoof]
}

const MOVED: &str = concat!(
    r#""havip":"web","vni":5001,"address":"10.0.0.100","eip":"203.0.113.7","kind":"moved","generation":42,"#,
    r#""time":"2026-11-23T01:04:05.007Z","holder":{"instance":"vm1","mac":"52:54:00:00:00:01","tep":"198.18.0.1"},"#,
    r#""previous":{"instance":"vm2","mac":"52:54:00:00:00:02","tep":"198.18.0.2"},"#,
    r#""why":"garp","detail":null,"offender":null}"#
);

#[test]
fn the_history_tells_what_happened() {
    let node = node();
    node.script.lock().unwrap().history = events();
    let table = "TIME                      EVENT  HOLDER  PREVIOUS  WHY   GENERATION  DETAIL
2026-11-23T01:04:05.007Z  moved  vm1     vm2       garp  42          -
2026-11-23T01:04:05.007Z  spoof  vm1     -         -     43          33:33:00:00:00:01 on 198.18.0.9, the last of 12; a gratuitous ARP
";
    assert_eq!(run(&node, "havip history web"), (0, table.to_owned(), String::new()));
    let json = format!(
        "[{{{MOVED},\n{{{}]\n",
        concat!(
            r#""havip":"web","vni":5001,"address":"10.0.0.100","eip":"203.0.113.7","kind":"spoof","generation":43,"#,
            r#""time":"2026-11-23T01:04:05.007Z","holder":{"instance":"vm1","mac":"52:54:00:00:00:01","tep":"198.18.0.1"},"previous":null,"#,
            r#""why":null,"detail":"a gratuitous ARP","#,
            r#""offender":{"mac":"33:33:00:00:00:01","tep":"198.18.0.9","count":12}}"#
        )
    );
    assert_eq!(run(&node, "-o json havip history web"), (0, json, String::new()));
}

#[test]
fn a_watch_tells_of_havips() {
    let node = node();
    {
        let mut script = node.script.lock().unwrap();
        let model = script.model.clone();
        let binding = script.bindings.values().next().cloned();
        let havip = model.havips.values().next().cloned().map(proto::Havip::from);
        let kinds = [
            proto::watch_event::Kind::HavipSet(proto::HavipEntry { havip, binding }),
            proto::watch_event::Kind::HavipDeleted("old".to_owned()),
            proto::watch_event::Kind::HavipEvent(events().remove(0)),
        ];
        script.events =
            kinds.map(|kind| proto::WatchEvent { revision: 4, kind: Some(kind), unix_ms: 0 }).into();
    }
    let (_, printed, _) = run(&node, "watch --from 4");
    let lines: Vec<&str> = printed.lines().collect();
    assert!(
        lines[0]
            .starts_with("{\"revision\":4,\"event\":\"havip_set\",\"havip\":{\"name\":\"new\",\"vni\":5001,")
    );
    assert_eq!(lines[1], "{\"revision\":4,\"event\":\"havip_removed\",\"name\":\"old\"}");
    let event = "{\"revision\":4,\"event\":\"havip_event\",";
    assert_eq!(lines[2], format!("{event}{MOVED}"));
    assert_eq!(lines.len(), 3);
}

#[test]
fn the_examples_of_the_document_do_what_they_say() {
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/havip.md")).unwrap();
    let fresh = || Node::with(model(&[(1, "hv1"), (2, "hv2")], &[(5001, "vpc-a", &[1, 2])]));
    let by_hand = fresh();
    let commands = document.lines().filter_map(|line| line.strip_prefix("    bcastctl "));
    let mut count = 0;
    for command in commands {
        let (status, _, said) = run(&by_hand, command.split('#').next().unwrap().trim());
        assert_eq!((status, said.as_str()), (0, ""), "{command}");
        count += 1;
    }
    assert_eq!(count, 5);
    let by_file = fresh();
    let (_, yaml) = document.split_once("```yaml\n").unwrap();
    let file = by_file.file("havips.yaml", yaml.split("```").next().unwrap());
    assert_eq!(by_file.run(&["apply", "-f", &file]).0, 0);
    assert_eq!(by_file.model().havips, by_hand.model().havips);
}
