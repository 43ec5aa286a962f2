//! The TAP's settings in the kernel.
//!
//! The TAP carries the node's addresses, and whoever is on the underlay's link can send to it. So it takes nothing from there that
//! would change what the host does: no addresses, no routes, no gateways, no source routes. A kernel gives a new interface the
//! settings of `conf/default`, which may be anything.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Folder of the kernel's settings of its network stack.
const SETTINGS: &str = "/proc/sys/net";

/// A setting: its path below [`SETTINGS`], with `TAP` in place of the interface's name, and its value.
type Setting = (&'static str, &'static str);

/// Without these the daemon does not start.
///
/// Some cannot do it alone, since the kernel goes by the interface's setting or that of `conf/all`, which is the host's:
/// `accept_redirects` of IPv4 is one, so the punt drops redirects before they get as far. `secure_redirects` and `rp_filter` stay
/// as they are: the first can only allow less than `accept_redirects`, and with the second a router may well answer by another way.
/// Router advertisements do get to the kernel, which ignores them: FRR reads them to find the neighbours of BGP unnumbered. For
/// the same reason the link-local address of IPv6 stays.
const REQUIRED: [Setting; 24] = [
    ("ipv4/conf/TAP/forwarding", "0"),
    ("ipv4/conf/TAP/accept_redirects", "0"),
    ("ipv4/conf/TAP/accept_source_route", "0"),
    ("ipv4/conf/TAP/accept_local", "0"),
    // Or whoever is on the link reaches what listens on 127.0.0.1.
    ("ipv4/conf/TAP/route_localnet", "0"),
    ("ipv4/conf/TAP/bootp_relay", "0"),
    ("ipv4/conf/TAP/proxy_arp", "0"),
    ("ipv4/conf/TAP/proxy_arp_pvlan", "0"),
    // It answers for the TAP's own addresses, and for none of the host's others.
    ("ipv4/conf/TAP/arp_ignore", "1"),
    // An announcement makes no new neighbour. It moves one that is known, which is what next hops need.
    ("ipv4/conf/TAP/arp_accept", "0"),
    ("ipv6/conf/TAP/forwarding", "0"),
    ("ipv6/conf/TAP/accept_ra", "0"),
    ("ipv6/conf/TAP/accept_ra_defrtr", "0"),
    ("ipv6/conf/TAP/accept_ra_pinfo", "0"),
    ("ipv6/conf/TAP/accept_ra_rtr_pref", "0"),
    ("ipv6/conf/TAP/accept_ra_rt_info_max_plen", "0"),
    ("ipv6/conf/TAP/accept_ra_mtu", "0"),
    ("ipv6/conf/TAP/accept_ra_from_local", "0"),
    ("ipv6/conf/TAP/autoconf", "0"),
    ("ipv6/conf/TAP/accept_redirects", "0"),
    ("ipv6/conf/TAP/accept_source_route", "-1"),
    ("ipv6/conf/TAP/accept_untracked_na", "0"),
    ("ipv6/conf/TAP/proxy_ndp", "0"),
    ("ipv6/conf/TAP/seg6_enabled", "0"),
];

/// Without these it does, and says so.
///
/// The host asks nobody for router advertisements, and tells the underlay of no other address than the TAP's. A gratuitous ARP
/// moves a next hop at once. The rest has the host find out within about ten seconds that a next hop has another MAC address without
/// having announced it: a neighbour is in doubt after at most 1.5 x 3 s, tried a second later, asked thrice at its old address, a
/// second each, and then by broadcast, without having been unresolved.
const WANTED: [Setting; 11] = [
    ("ipv6/conf/TAP/router_solicitations", "0"),
    ("ipv4/conf/TAP/arp_announce", "2"),
    ("ipv4/conf/TAP/drop_gratuitous_arp", "0"),
    ("ipv4/neigh/TAP/base_reachable_time_ms", "3000"),
    ("ipv4/neigh/TAP/interval_probe_time_ms", "1000"),
    ("ipv4/neigh/TAP/delay_first_probe_time", "1"),
    ("ipv4/neigh/TAP/mcast_resolicit", "3"),
    ("ipv6/neigh/TAP/base_reachable_time_ms", "3000"),
    ("ipv6/neigh/TAP/interval_probe_time_ms", "1000"),
    ("ipv6/neigh/TAP/delay_first_probe_time", "1"),
    ("ipv6/neigh/TAP/mcast_resolicit", "3"),
];

/// A setting of the TAP that the daemon does not start without.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// The kernel's settings cannot be seen.
    #[error("there is no {}, so the TAP's settings cannot be made; mount /proc", .0.display())]
    NoSettings(PathBuf),
    /// It has another value, and cannot be changed.
    #[error(
        "the TAP's setting {} is {value}, must be {wanted}, and cannot be changed ({error}): make /proc/sys/net writable for bcastd, \
         or set {default} to {wanted} before it starts (in containers: --sysctl)",
        path.display()
    )]
    Refused {
        /// Path of the setting.
        path: PathBuf,
        /// Value of the setting.
        value: String,
        /// The value that it must have.
        wanted: &'static str,
        /// Setting from which a new interface gets its value, as `sysctl` names it.
        default: String,
        /// Why it cannot be changed.
        error: io::Error,
    },
}

/// Makes the settings of the TAP of this name, before it is up.
///
/// # Errors
/// One that the daemon needs cannot be made.
pub fn configure(tap: &str) -> Result<(), SettingError> {
    configure_in(Path::new(SETTINGS), tap)
}

fn configure_in(settings: &Path, tap: &str) -> Result<(), SettingError> {
    // IPv6 may be off, on the host or, where the MTU is under 1,280, on the TAP.
    let ipv4 = settings.join("ipv4/conf").join(tap);
    if !ipv4.is_dir() {
        return Err(SettingError::NoSettings(ipv4));
    }
    for setting in REQUIRED {
        let (key, wanted) = setting;
        let (path, value, done) = make(settings, tap, setting);
        if let Err(error) = done {
            let default = format!("net/{key}").replace('/', ".").replace(".TAP.", ".default.");
            return Err(SettingError::Refused { path, value, wanted, default, error });
        }
    }
    for setting in WANTED {
        let (path, value, done) = make(settings, tap, setting);
        if let Err(error) = done {
            let (path, wanted) = (path.display(), setting.1);
            tracing::warn!(%path, value, wanted, %error, "a setting of the TAP could not be made");
        }
    }
    Ok(())
}

/// Makes a setting where it has another value. Gives where it stands, and the value that it had.
fn make(settings: &Path, tap: &str, (key, wanted): Setting) -> (PathBuf, String, io::Result<()>) {
    let path = settings.join(key.replace("TAP", tap));
    match std::fs::read_to_string(&path) {
        // This kernel does not know it, or does not have IPv6.
        Err(error) if error.kind() == ErrorKind::NotFound => (path, String::new(), Ok(())),
        Ok(value) if value.trim() == wanted => (path, value, Ok(())),
        read => {
            let done = std::fs::write(&path, wanted);
            let value = read.map_or_else(|_| "unknown".into(), |value| value.trim().into());
            (path, value, done)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// The settings of a host with this TAP, all of them at a value that lets everything in.
    fn permissive() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (key, _) in REQUIRED.into_iter().chain(WANTED) {
            let path = folder.path().join(key.replace("TAP", "bcast0"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "7\n").unwrap();
        }
        folder
    }

    fn value(folder: &Path, key: &str) -> String {
        fs::read_to_string(folder.join(key.replace("TAP", "bcast0"))).unwrap().trim().into()
    }

    /// A setting that nobody can change, not even root.
    fn fix(folder: &Path, key: &str, at: &str) {
        let path = folder.join(key.replace("TAP", "bcast0"));
        fs::remove_file(&path).unwrap();
        let version = Path::new("/proc/sys/kernel/ostype");
        match at {
            "" => symlink(version, path).unwrap(),
            at => fs::write(path, at).unwrap(),
        }
    }

    #[test]
    fn every_setting_is_made() {
        let folder = permissive();
        configure_in(folder.path(), "bcast0").unwrap();
        for (key, wanted) in REQUIRED.into_iter().chain(WANTED) {
            assert_eq!(value(folder.path(), key), wanted, "{key}");
        }
    }

    #[test]
    fn a_setting_that_is_needed_and_cannot_be_made_is_named_with_what_to_do() {
        for (key, wanted) in REQUIRED {
            let folder = permissive();
            fix(folder.path(), key, "");
            let error = configure_in(folder.path(), "bcast0").unwrap_err().to_string();
            let (path, name) = (key.replace("TAP", "bcast0"), key.rsplit('/').next().unwrap());
            assert!(
                error.contains(&format!("{path} is Linux, must be {wanted}, and cannot be changed")),
                "{error}"
            );
            assert!(error.contains(&format!(".conf.default.{name} to {wanted} before")), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_setting_that_is_right_already_need_not_be_writable() {
        let folder = permissive();
        for (key, wanted) in REQUIRED.into_iter().chain(WANTED) {
            fix(folder.path(), key, &format!("{wanted}\n"));
            let path = folder.path().join(key.replace("TAP", "bcast0"));
            // Whoever wrote it would leave no newline.
            configure_in(folder.path(), "bcast0").unwrap();
            assert_eq!(fs::read_to_string(path).unwrap(), format!("{wanted}\n"), "{key} was written");
        }
    }

    #[test]
    fn a_setting_that_is_only_wanted_does_not_keep_the_daemon_from_starting() {
        let folder = permissive();
        WANTED.iter().for_each(|(key, _)| fix(folder.path(), key, ""));
        configure_in(folder.path(), "bcast0").unwrap();
        assert_eq!(value(folder.path(), REQUIRED[0].0), REQUIRED[0].1);
    }

    #[test]
    fn a_host_without_ipv6_or_with_an_older_kernel_is_fine_and_one_without_settings_is_not() {
        let folder = permissive();
        fs::remove_dir_all(folder.path().join("ipv6")).unwrap();
        fs::remove_file(folder.path().join("ipv4/conf/bcast0/route_localnet")).unwrap();
        configure_in(folder.path(), "bcast0").unwrap();
        assert_eq!(value(folder.path(), "ipv4/conf/TAP/arp_ignore"), "1");
        let error = configure_in(folder.path(), "other").unwrap_err().to_string();
        assert!(
            error.ends_with("ipv4/conf/other, so the TAP's settings cannot be made; mount /proc"),
            "{error}"
        );
    }
}
