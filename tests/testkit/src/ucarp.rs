//! ucarp on a VM: another program, and another protocol, that hands over a virtual IP address.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crate::{keepalived::VIP, overlay::Vm, process::Process};

/// The number of the virtual host; nothing to do with VRRP's.
const HOST: u8 = 7;

/// Starts ucarp on the VM, with [`VIP`] as its virtual address; the lowest `skew` becomes master.
pub fn start(vm: &Vm, skew: u8, folder: &Path) -> Process {
    fs::create_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let script = |name: &str, change: &str| {
        let file = folder.join(name);
        let text = format!("#!/bin/sh\nip address {change} {VIP}/16 dev \"$1\"\n");
        fs::write(&file, text).expect("the folder is ours");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("the file is ours");
        file.display().to_string()
    };
    let (up, down) = (script("up", "add"), script("down", "del"));
    let line = format!(
        "ucarp --interface=eth0 --srcip={} --vhid={HOST} --pass=secret --addr={VIP} --advbase=1 --advskew={skew} \
         --upscript={up} --downscript={down}",
        vm.address
    );
    vm.namespace.start(&line, &folder.join("log"))
}
