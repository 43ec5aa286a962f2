//! The node under test: `bcastd` in its namespace, `bcastctl`, and the metrics.

use std::{
    env, fs,
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::unix::{fs::chown, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use toml::{Table, Value};

pub use crate::metrics::Metrics;
use crate::{
    lab::{Host, Lab, NODE},
    metrics::fetch,
    namespace::Namespace,
    process::{Process, output, wait_for},
};

/// The small disk, in the lab's folder.
const DISK: &str = "disk";
/// Address at which the daemon of a lab serves its metrics, inside the node's namespace.
const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9117);
/// MAC address of every next hop of a daemon without a network.
pub const NEXT_HOP: [u8; 6] = [2, 0, 0, 0, 0, 3];

/// A configuration file for `bcastd`.
#[derive(Clone, Debug)]
pub struct Config {
    table: Table,
    place: Place,
    program: Option<PathBuf>,
}

/// Resources of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Root,
    Nobody,
    SmallDisk,
}

impl Config {
    /// Resources for a lab: af_packet on `eth0`, no hugepages, a worker that sleeps when it is idle.
    pub fn new(folder: &Path) -> Self {
        let path = |name: &str| Value::from(folder.join(name).display().to_string());
        Self { table: Table::new(), place: Place::Root, program: None }
            .set("port.device", "af_packet:eth0")
            .set("underlay.addresses", vec![format!("{NODE}/16")])
            .set("workers.cores", vec![1])
            .set("workers.idle_sleep_us", 100)
            .set("store.path", path("domains.redb"))
            .set("api.socket", path("api.sock"))
            .set("metrics.listen", METRICS.to_string())
            .set("eal.hugepages", false)
            .set("eal.memory_mb", 256)
    }

    /// A daemon without a network: its port is a virtual device (`vdev:net_null0`, `pcap:IN,OUT`), its worker polls
    /// core 1 without a pause, no limit is in force. Metrics are served at a port of 127.0.0.1 that is free now.
    pub fn without_network(folder: &Path, device: &str) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
        let metrics = free.expect("a port of 127.0.0.1 is free");
        Self::new(folder)
            .set("port.device", device)
            .set("underlay.addresses", vec![format!("{NODE}/15")])
            .set("underlay.gateway_mac", crate::lab::mac_text(NEXT_HOP))
            .set("underlay.tap", "")
            .set("workers.idle_sleep_us", 0)
            .set("metrics.listen", metrics.to_string())
            .set("limits.enabled", false)
    }

    /// Sets `section.key`.
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        let (section, key) = path.split_once('.').expect("a path is section.key");
        let table = self.table.entry(section).or_insert_with(|| Table::new().into());
        table.as_table_mut().expect("sections are tables").insert(key.into(), value.into());
        self
    }

    /// Adds a `[[webhook]]`.
    pub fn webhook(mut self, name: &str, url: &str, secret_file: &Path) -> Self {
        let mut webhook = Table::new();
        let values = [("name", name.to_owned()), ("url", url.to_owned())];
        let file = ("secret_file", secret_file.display().to_string());
        webhook.extend(values.into_iter().chain([file]).map(|(key, value)| (key.to_owned(), value.into())));
        let all = self.table.entry("webhook").or_insert_with(|| Value::Array(Vec::new()));
        all.as_array_mut().expect("webhooks are an array").push(webhook.into());
        self
    }

    /// Runs another build of the daemon; [`Node::on_host`] alone does so.
    pub fn program(mut self, path: &Path) -> Self {
        self.program = Some(path.to_owned());
        self
    }

    /// Runs the daemon as nobody, without any privilege.
    pub fn unprivileged(mut self) -> Self {
        self.place = Place::Nobody;
        self
    }

    /// Runs the daemon with the store on a disk of 4 MiB, which goes with the daemon: see [`Node::fill_disk`].
    pub fn small_disk(mut self, lab: &Lab) -> Self {
        self.place = Place::SmallDisk;
        let disk = lab.folder().join(DISK);
        fs::create_dir(&disk).expect("the lab's folder is ours");
        self.set("store.path", disk.join("domains.redb").display().to_string())
    }

    /// The file's text.
    pub fn text(&self) -> String {
        self.table.to_string()
    }

    fn string(&self, section: &str, key: &str) -> String {
        self.table[section][key].as_str().expect("it is a string").to_owned()
    }
}

/// A `bcastd` that is killed when it is dropped.
#[derive(Debug)]
pub struct Node<'lab> {
    /// None: it runs in the network namespace of this program.
    namespace: Option<&'lab Namespace>,
    folder: PathBuf,
    config: Config,
    process: Process,
}

/// Result of a `bcastctl`.
#[derive(Debug)]
pub struct Answer {
    /// The exit status; -1 after a signal.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl<'lab> Node<'lab> {
    /// Starts the daemon in the lab's node namespace and waits until it is ready.
    ///
    /// # Panics
    /// The daemon ends instead; its log is shown.
    pub fn start(lab: &'lab Lab, config: &Config) -> Self {
        let mut node = Self::of_lab(lab, config);
        node.wait_ready();
        node
    }

    /// Starts a daemon in this program's own network namespace, with its files in `folder`, and waits until it is
    /// ready. For [`Config::without_network`]; it dies with this program.
    ///
    /// # Panics
    /// The daemon ends instead; its log is shown.
    pub fn on_host(folder: &Path, config: &Config) -> Self {
        let process = launch_on_host(folder, config);
        let mut node = Self { namespace: None, folder: folder.into(), config: config.clone(), process };
        node.wait_ready();
        node
    }

    /// Starts one more daemon on a machine of the lab, with its files in `folder`, and waits until it is ready.
    ///
    /// # Panics
    /// The daemon ends instead; its log is shown.
    pub fn start_on(machine: &'lab Host, folder: &Path, config: &Config) -> Self {
        let mut node = Self::launched(&machine.namespace, folder, config);
        node.wait_ready();
        node
    }

    fn of_lab(lab: &'lab Lab, config: &Config) -> Self {
        Self::launched(&lab.node, lab.folder(), config)
    }

    fn launched(namespace: &'lab Namespace, folder: &Path, config: &Config) -> Self {
        let process = launch_in(namespace, folder, config);
        Self { namespace: Some(namespace), folder: folder.into(), config: config.clone(), process }
    }

    /// The same, where this condition of readiness, and no other, will not be met yet.
    ///
    /// # Panics
    /// The daemon ends instead; its log is shown.
    pub fn start_without(lab: &'lab Lab, config: &Config, condition: &str) -> Self {
        let mut node = Self::of_lab(lab, config);
        node.wait_readyz(&format!("bcastd to be ready but for {condition}"), |reply| {
            let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_default();
            let mut lines = body.lines().peekable();
            head.starts_with("HTTP/1.1 503")
                && lines.peek().is_some()
                && lines.all(|line| line.starts_with(&format!("{condition}: ")))
        });
        node
    }

    /// A daemon with the lab's usual configuration.
    pub fn plain(lab: &'lab Lab) -> Self {
        Self::start(lab, &Config::new(lab.folder()))
    }

    fn wait_ready(&mut self) {
        self.wait_readyz("bcastd to be ready", |reply| reply.starts_with("HTTP/1.1 200"));
    }

    fn wait_readyz(&mut self, what: &str, is_wanted: impl Fn(&str) -> bool) {
        wait_for(what, || {
            let ended = self.process.ended();
            assert!(ended.is_none(), "bcastd ended, {ended:?}:\n{}", self.process.log());
            self.get("/readyz").filter(|reply| is_wanted(reply)).map(drop)
        });
    }

    /// Fetches a page of the daemon's HTTP service, head and body; `None` while nobody listens.
    fn get(&self, path: &str) -> Option<String> {
        match self.namespace {
            Some(namespace) => get(namespace, path),
            None => fetch(self.config.string("metrics", "listen").parse().ok()?, path).ok(),
        }
    }

    /// Starts it again, after [`Node::kill9`] or [`Node::stop`], with the same configuration.
    pub fn restart(&mut self) {
        self.process = match self.namespace {
            Some(namespace) => launch_in(namespace, &self.folder, &self.config),
            None => launch_on_host(&self.folder, &self.config),
        };
        self.wait_ready();
    }

    /// Runs `bcastctl` with these arguments.
    pub fn ctl(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(binary("bcastctl"));
        let output = output(command.arg("--socket").arg(self.socket()).args(arguments));
        Answer {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs `bcastctl <line>`, split at blanks; it must succeed. Gives its standard output.
    pub fn must(&self, line: &str) -> String {
        let answer = self.ctl(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(answer.status, 0, "bcastctl {line}: {answer:?}");
        answer.stdout
    }

    /// Registers the addresses, makes them the members of a domain, and waits until their next hops are known.
    pub fn serve(&self, vni: u32, teps: &[Ipv4Addr]) {
        self.must(&format!("domain create {vni}"));
        let words: Vec<_> = teps.iter().map(Ipv4Addr::to_string).collect();
        words.iter().for_each(|tep| drop(self.must(&format!("tep add {tep}"))));
        self.must(&format!("domain join {vni} {}", words.join(" ")));
        self.wait_resolved(teps);
    }

    /// Waits until the daemon knows the next hop of each address.
    pub fn wait_resolved(&self, teps: &[Ipv4Addr]) {
        for tep in teps {
            // The table and the JSON name the MAC address; nothing else in them has five colons in a row of pairs.
            wait_for(&format!("the next hop of {tep}"), || {
                self.must(&format!("tep show {tep}")).split_whitespace().any(has_mac).then_some(())
            });
        }
    }

    /// The metrics as they are now.
    pub fn metrics(&self) -> Metrics {
        Metrics::of_reply(&self.get("/metrics").expect("the daemon serves metrics"))
    }

    /// Waits until the metrics satisfy `enough`, and gives them.
    pub fn wait_metrics(&self, what: &str, mut enough: impl FnMut(&Metrics) -> bool) -> Metrics {
        wait_for(what, || Some(self.metrics()).filter(|metrics| enough(metrics)))
    }

    /// The daemon's API socket.
    pub fn socket(&self) -> PathBuf {
        self.config.string("api", "socket").into()
    }

    /// Fills what is left of the small disk, and gives the file that does.
    pub fn fill_disk(&self) -> PathBuf {
        let own = format!("/proc/{}/root{}", self.process.id(), self.folder.join(DISK).display());
        let filling = PathBuf::from(own).join("filling");
        let mut file =
            fs::File::create(&filling).unwrap_or_else(|error| panic!("{}: {error}", filling.display()));
        while file.write_all(&[0; 4096]).is_ok() {}
        filling
    }

    /// Log of the daemon so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The daemon's process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The daemon's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks the daemon to end; gives how it did.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.stop()
    }

    /// Ends the daemon without warning.
    pub fn kill9(&mut self) {
        let status = self.process.kill();
        assert_eq!(status.signal(), Some(9), "bcastd had ended by itself:\n{}", self.process.log());
    }

    /// Lets the daemon run on after this value ends.
    pub fn keep(self) {
        self.process.keep();
    }
}

fn write_config(folder: &Path, config: &Config) -> PathBuf {
    let file = folder.join("bcastd.toml");
    fs::write(&file, config.text()).expect("the folder is ours");
    file
}

fn launch_on_host(folder: &Path, config: &Config) -> Process {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(config.program.clone().unwrap_or_else(|| binary("bcastd")));
    command.arg("--config");
    Process::start(command.arg(write_config(folder, config)), &folder.join("bcastd.log"))
}

/// Starts a daemon and does not wait for anything: for daemons that shall refuse to start.
pub fn launch(lab: &Lab, config: &Config) -> Process {
    launch_in(&lab.node, lab.folder(), config)
}

fn launch_in(namespace: &Namespace, folder: &Path, config: &Config) -> Process {
    let file = write_config(folder, config);
    match config.place {
        Place::Root => launch_file_in(namespace, folder, &file),
        Place::Nobody => launch_as_nobody(namespace, folder, &file),
        Place::SmallDisk => launch_on_small_disk(namespace, folder, &file),
    }
}

/// `ip netns exec` gives its command a mount namespace of its own: nobody else sees that disk.
fn launch_on_small_disk(namespace: &Namespace, folder: &Path, file: &Path) -> Process {
    let mut command = namespace.command("sh");
    command.args(["-c", "mount -t tmpfs -o size=4m disk \"$0\" && exec \"$1\" --config \"$2\""]);
    command.arg(folder.join(DISK)).arg(binary("bcastd")).arg(file);
    Process::start(&mut command, &folder.join("bcastd.log"))
}

/// The folder becomes nobody's, and the program is copied there: its own place may be closed to nobody.
fn launch_as_nobody(namespace: &Namespace, folder: &Path, file: &Path) -> Process {
    const NOBODY: u32 = 65534;
    let program = folder.join("bcastd");
    if !program.exists() {
        fs::copy(binary("bcastd"), &program).expect("the lab's folder is ours");
        chown(folder, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
    }
    let mut command = namespace.command("setpriv");
    command.args([
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
    ]);
    Process::start(command.arg(program).arg("--config").arg(file), &folder.join("bcastd.log"))
}

/// The same with a file that stands already, right or wrong.
pub fn launch_file(lab: &Lab, file: &Path) -> Process {
    launch_file_in(&lab.node, lab.folder(), file)
}

fn launch_file_in(namespace: &Namespace, folder: &Path, file: &Path) -> Process {
    let mut command = namespace.command(binary("bcastd"));
    Process::start(command.arg("--config").arg(file), &folder.join("bcastd.log"))
}

/// The program of that name: what the variable `BCASTD` (or `BCASTCTL`) says, else the release build in the target
/// folder that this test is in.
pub fn binary(name: &str) -> PathBuf {
    if let Some(path) = env::var_os(name.to_uppercase()) {
        return path.into();
    }
    let own = env::current_exe().expect("a program knows its own path");
    let built = own.ancestors().map(|folder| folder.join("release").join(name)).find(|path| path.exists());
    built.unwrap_or_else(|| panic!("{name} is not built: cargo build --release"))
}

/// Fetches a page of the HTTP service of the daemon in a namespace, head and body; `None` while nobody listens.
pub fn get(namespace: &Namespace, path: &str) -> Option<String> {
    namespace.inside(|| fetch(METRICS, path)).ok()
}

/// True if the word holds a MAC address.
fn has_mac(word: &str) -> bool {
    let word = word.trim_matches(|letter: char| !letter.is_ascii_hexdigit());
    let pairs: Vec<_> = word.split(':').collect();
    pairs.len() == 6 && pairs.iter().all(|pair| pair.len() == 2 && u8::from_str_radix(pair, 16).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_is_found_in_tables_and_in_json() {
        for (word, found) in [
            ("02:00:00:00:00:01", true),
            ("\"02:00:00:00:00:fe\",", true),
            ("12:30:59", false),
            ("198.18.0.1", false),
            ("02:00:00:00:00", false),
        ] {
            assert_eq!(has_mac(word), found, "{word}");
        }
    }
}
