//! Raw frames into an interface, well formed or not.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, bind, send, socket},
};

use crate::namespace::Namespace;

/// A packet socket bound to one interface.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedFd,
}

impl Sender {
    /// A sender on `interface` of the namespace.
    pub fn new(namespace: &Namespace, interface: &str) -> Self {
        namespace.inside(|| {
            let address = getifaddrs()
                .expect("interfaces can be listed")
                .filter(|found| found.interface_name == interface)
                .find_map(|found| found.address.filter(|address| address.as_link_addr().is_some()))
                .unwrap_or_else(|| panic!("no interface {interface}"));
            // No protocol: the socket receives nothing.
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
                .expect("root may open packet sockets");
            bind(socket.as_raw_fd(), &address).expect("the interface is there");
            Self { socket }
        })
    }

    /// Sends one frame as it is, from the destination MAC address on.
    ///
    /// # Panics
    /// The kernel refuses it (an interface that is down, a frame longer than the MTU).
    pub fn send(&self, frame: &[u8]) {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty());
        assert_eq!(sent, Ok(frame.len()), "a frame of {} bytes", frame.len());
    }
}
