//! Binds the system's libdpdk: pkg-config says where it is, bindgen reads its headers, and a small C shim
//! wraps what is `static inline`. Both compilers get the flags of `pkg-config --cflags libdpdk` verbatim,
//! since `-include rte_config.h` and `-march` change what the headers mean.

use std::{
    env,
    error::Error,
    path::PathBuf,
    process::{self, Command},
};

/// The first release that has what is used; Debian 12's.
const OLDEST: &str = "22.11";

const FUNCTIONS: &[&str] = &[
    "rte_eal_(init|cleanup|get_runtime_dir|hotplug_add|hotplug_remove)",
    "rte_version",
    "rte_strerror",
    "rte_thread_(register|unregister)",
    "rte_pktmbuf_(pool_create|free_bulk)",
    "rte_mempool_(avail_count|in_use_count)",
    "rte_eth_dev_(get_port_by_name|adjust_nb_rx_tx_desc|start|stop|close|socket_id|default_mac_addr_set)",
    "rte_eth_(rx|tx)_queue_setup",
    "rte_eth_promiscuous_enable",
    "rte_eth_macaddr_get",
    "rte_eth_stats_get",
    "rte_eth_xstats_get(_names)?",
    "shim_.*",
];

/// Types are bound only if they are named here: bindgen would else follow rte_mbuf and rte_mempool, which are
/// written by hand in src/mbuf.rs, into everything that they hold.
const TYPES: &[&str] = &["rte_ether_addr", "rte_eth_stats", "rte_eth_xstat", "rte_eth_xstat_name", "shim_.*"];

const CONSTANTS: &[&str] =
    &["SHIM_.*", "RTE_EAL_PMD_PATH", "RTE_PKTMBUF_HEADROOM", "RTE_MEMPOOL_CACHE_MAX_SIZE"];

fn main() {
    if let Err(error) = build() {
        println!("cargo::error={error}");
        process::exit(1);
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=shim");
    // Never static, whatever the environment asks: the drivers are plugins, and plugins need the libraries.
    let library = pkg_config::Config::new()
        .atleast_version(OLDEST)
        .statik(false)
        .cargo_metadata(false)
        .probe("libdpdk")
        .map_err(|error| {
            eprintln!("{error}");
            format!("libdpdk {OLDEST} or newer was not found: `apt install libdpdk-dev` (Debian, Ubuntu)")
        })?;
    // Another DPDK wants other bindings. (The pkg-config crate sees to its variables.)
    for header in library.include_paths.iter().map(|path| path.join("rte_build_config.h")) {
        if header.exists() {
            println!("cargo::rerun-if-changed={}", header.display());
        }
    }
    let flags = cflags()?;

    let mut shim = cc::Build::new();
    shim.file("shim/shim.c").opt_level(3);
    for flag in &flags {
        shim.flag(flag);
    }
    shim.compile("dpdk_shim");

    for path in &library.link_paths {
        println!("cargo::rustc-link-search=native={}", path.display());
    }
    for name in libraries(&library)? {
        println!("cargo::rustc-link-lib=dylib={name}");
    }

    let mut bindings = bindgen::Builder::default()
        .header("shim/shim.h")
        .clang_args(&flags)
        .use_core()
        .generate_comments(false)
        .layout_tests(false)
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .allowlist_recursively(false);
    for pattern in FUNCTIONS {
        bindings = bindings.allowlist_function(pattern);
    }
    for pattern in TYPES {
        bindings = bindings.allowlist_type(pattern);
    }
    for pattern in CONSTANTS {
        bindings = bindings.allowlist_var(pattern);
    }
    let file = PathBuf::from(env::var("OUT_DIR")?).join("bindings.rs");
    bindings.generate()?.write_to_file(file)?;
    Ok(())
}

/// DPDK's libraries by pkg-config's list: releases move functions from one to another (the log left librte_eal
/// in 23.11). rustc links with `--as-needed`, so that a program depends only on those that it calls. The EAL
/// loads drivers and buses at run time, from the folder that libdpdk was built with.
fn libraries(library: &pkg_config::Library) -> Result<Vec<&str>, Box<dyn Error>> {
    let names: Vec<&str> =
        library.libs.iter().map(String::as_str).filter(|name| name.starts_with("rte_")).collect();
    if names.contains(&"rte_eal") {
        return Ok(names);
    }
    Err(format!(
        "`pkg-config --libs libdpdk` names no shared librte_eal, only {:?}: install DPDK's shared libraries",
        library.libs
    )
    .into())
}

/// `pkg-config --cflags libdpdk` word by word; the pkg-config crate sorts flags and drops what it does not
/// know.
fn cflags() -> Result<Vec<String>, Box<dyn Error>> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let output = Command::new(program).args(["--cflags", "libdpdk"]).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?.split_whitespace().map(String::from).collect())
}
