/* What of libdpdk cannot be bound directly: static inlines, macros, TLS variables and structs whose layout
 * differs between DPDK releases. Functions here are called once a burst or less often, never once a packet. */
#ifndef BCAST_DPDK_SHIM_H
#define BCAST_DPDK_SHIM_H

#include <stddef.h>
#include <stdint.h>

#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* Shared payloads are freed by drivers on several threads. */
#ifndef RTE_MBUF_REFCNT_ATOMIC
#error "DPDK was built without atomic reference counts of mbufs: use a build with RTE_MBUF_REFCNT_ATOMIC"
#endif

/* Layout of rte_mbuf, checked at compile time against the overlay in src/mbuf.rs. */
enum shim_layout {
	SHIM_MBUF_SIZE = sizeof(struct rte_mbuf),
	SHIM_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	SHIM_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	SHIM_MBUF_REFCNT = offsetof(struct rte_mbuf, refcnt),
	SHIM_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	SHIM_MBUF_PORT = offsetof(struct rte_mbuf, port),
	SHIM_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	SHIM_MBUF_PACKET_TYPE = offsetof(struct rte_mbuf, packet_type),
	SHIM_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	SHIM_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	SHIM_MBUF_VLAN_TCI = offsetof(struct rte_mbuf, vlan_tci),
	SHIM_MBUF_HASH = offsetof(struct rte_mbuf, hash),
	SHIM_MBUF_VLAN_TCI_OUTER = offsetof(struct rte_mbuf, vlan_tci_outer),
	SHIM_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	SHIM_MBUF_POOL = offsetof(struct rte_mbuf, pool),
	SHIM_MBUF_NEXT = offsetof(struct rte_mbuf, next),
	SHIM_MBUF_TX_OFFLOAD = offsetof(struct rte_mbuf, tx_offload),
	SHIM_MBUF_SHINFO = offsetof(struct rte_mbuf, shinfo),
	SHIM_MBUF_PRIV_SIZE = offsetof(struct rte_mbuf, priv_size),
};

/* An RTE_BIT64 macro, which bindgen cannot evaluate. */
static const uint64_t SHIM_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
/* ol_flags of an mbuf whose bytes are elsewhere than in its own buffer. */
static const uint64_t SHIM_MBUF_BYTES_ELSEWHERE = RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT;

/* The part of rte_eth_dev_info that is used. */
struct shim_port_info {
	const char *driver_name;
	uint64_t tx_offloads;
	uint32_t max_rx_frame;
	uint16_t min_mtu;
	uint16_t max_mtu;
	uint16_t max_rx_queues;
	uint16_t max_tx_queues;
};

struct shim_port_config {
	uint64_t tx_offloads;
	uint16_t rx_queues;
	uint16_t tx_queues;
	uint16_t mtu;
};

struct shim_link {
	uint32_t speed_mbps; /* 0: none, UINT32_MAX: unknown */
	uint8_t up;
};

int shim_errno(void);
/* The time stamp counter, and how many a second. */
uint64_t shim_cycles(void);
uint64_t shim_cycles_per_second(void);
/* Whether the calling thread has an lcore id, hence a cache in every mempool. */
int shim_thread_is_registered(void);

/* The EAL's and the drivers' log goes to memory from begin to end. end returns what was written
 * (freed with shim_log_capture_free), or NULL. One capture at a time. */
int shim_log_capture_begin(void);
char *shim_log_capture_end(void);
void shim_log_capture_free(char *text);

int shim_port_info(uint16_t port, struct shim_port_info *info);
int shim_port_configure(uint16_t port, const struct shim_port_config *config);
int shim_link(uint16_t port, struct shim_link *link);

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);

/* All n or none: 0 or a negative errno. The mbufs are as they were freed: see rte_mbuf_raw_alloc. */
int shim_mbuf_get_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n);
/* Gives untouched mbufs (reference count 1, one segment) back. */
void shim_mbuf_put_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n);
struct rte_mbuf *shim_mbuf_alloc(struct rte_mempool *pool);
void shim_mbuf_free(struct rte_mbuf *mbuf);

/* 1 if every mbuf of the pool is a fresh one whose buffer follows its header and starts on a cache line. */
int shim_pool_is_plain(struct rte_mempool *pool);
/* Empties the calling thread's cache of the pool into the pool. */
void shim_pool_flush_cache(struct rte_mempool *pool);

#endif
