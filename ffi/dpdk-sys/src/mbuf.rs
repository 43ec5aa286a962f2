//! The types that are written by hand, with their layout checked against the installed headers.

use core::{ffi::c_void, mem::offset_of};

/// A mempool is only ever behind a pointer.
#[repr(C)]
pub struct rte_mempool {
    _opaque: [u8; 0],
}

/// Queue settings are always the driver's defaults: a null pointer.
#[repr(C)]
pub struct rte_eth_rxconf {
    _opaque: [u8; 0],
}

/// Queue settings are always the driver's defaults: a null pointer.
#[repr(C)]
pub struct rte_eth_txconf {
    _opaque: [u8; 0],
}

/// One segment of a packet: two cache lines, followed by its buffer.
#[repr(C, align(64))]
pub struct rte_mbuf {
    pub buf_addr: *mut c_void,
    pub buf_iova: u64,
    /// First of the four fields that a receive descriptor is rearmed with, 8 bytes together.
    pub data_off: u16,
    pub refcnt: u16,
    pub nb_segs: u16,
    pub port: u16,
    pub ol_flags: u64,
    /// First of the fields that a driver fills from a receive descriptor, 16 bytes together.
    pub packet_type: u32,
    pub pkt_len: u32,
    pub data_len: u16,
    pub vlan_tci: u16,
    /// The low half of the `hash` union.
    pub hash_low: u32,
    pub hash_high: u32,
    pub vlan_tci_outer: u16,
    pub buf_len: u16,
    pub pool: *mut rte_mempool,
    /// Second cache line.
    pub next: *mut rte_mbuf,
    pub tx_offload: u64,
    pub shinfo: *mut c_void,
    pub priv_size: u16,
    pub timesync: u16,
    pub dynfield1: [u32; 9],
}

/// Fails to compile where the installed DPDK lays `rte_mbuf` out differently.
macro_rules! same_offset {
    ($($field:ident = $constant:ident),* $(,)?) => {
        $(const _: () = assert!(offset_of!(rte_mbuf, $field) == crate::$constant as usize,
            concat!("rte_mbuf.", stringify!($field), " is elsewhere in this DPDK: src/mbuf.rs needs a change"));)*
    };
}

same_offset! {
    buf_addr = SHIM_MBUF_BUF_ADDR,
    data_off = SHIM_MBUF_DATA_OFF,
    refcnt = SHIM_MBUF_REFCNT,
    nb_segs = SHIM_MBUF_NB_SEGS,
    port = SHIM_MBUF_PORT,
    ol_flags = SHIM_MBUF_OL_FLAGS,
    packet_type = SHIM_MBUF_PACKET_TYPE,
    pkt_len = SHIM_MBUF_PKT_LEN,
    data_len = SHIM_MBUF_DATA_LEN,
    vlan_tci = SHIM_MBUF_VLAN_TCI,
    hash_low = SHIM_MBUF_HASH,
    vlan_tci_outer = SHIM_MBUF_VLAN_TCI_OUTER,
    buf_len = SHIM_MBUF_BUF_LEN,
    pool = SHIM_MBUF_POOL,
    next = SHIM_MBUF_NEXT,
    tx_offload = SHIM_MBUF_TX_OFFLOAD,
    shinfo = SHIM_MBUF_SHINFO,
    priv_size = SHIM_MBUF_PRIV_SIZE,
}
const _: () = assert!(size_of::<rte_mbuf>() == crate::SHIM_MBUF_SIZE as usize);
