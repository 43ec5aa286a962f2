#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shim.h"

int shim_errno(void)
{
	return rte_errno;
}

uint64_t shim_cycles(void)
{
	return rte_get_tsc_cycles();
}

uint64_t shim_cycles_per_second(void)
{
	return rte_get_tsc_hz();
}

int shim_thread_is_registered(void)
{
	return rte_lcore_id() != LCORE_ID_ANY;
}

static FILE *capture;
static char *captured;
static size_t captured_len;

/* The stream is opened once and never closed: a thread that is just logging may hold it. */
int shim_log_capture_begin(void)
{
	if (capture == NULL)
		capture = open_memstream(&captured, &captured_len);
	if (capture == NULL)
		return -1;
	rewind(capture);
	return rte_openlog_stream(capture);
}

char *shim_log_capture_end(void)
{
	char *text;

	if (capture == NULL)
		return NULL;
	rte_openlog_stream(NULL);
	flockfile(capture);
	fflush(capture);
	text = strndup(captured, captured_len);
	funlockfile(capture);
	return text;
}

void shim_log_capture_free(char *text)
{
	free(text);
}

int shim_port_info(uint16_t port, struct shim_port_info *info)
{
	struct rte_eth_dev_info dev;
	int ret = rte_eth_dev_info_get(port, &dev);

	if (ret != 0)
		return ret;
	info->driver_name = dev.driver_name;
	info->tx_offloads = dev.tx_offload_capa;
	info->max_rx_frame = dev.max_rx_pktlen;
	info->min_mtu = dev.min_mtu;
	info->max_mtu = dev.max_mtu;
	info->max_rx_queues = dev.max_rx_queues;
	info->max_tx_queues = dev.max_tx_queues;
	return 0;
}

int shim_port_configure(uint16_t port, const struct shim_port_config *config)
{
	struct rte_eth_conf conf;

	memset(&conf, 0, sizeof(conf));
	conf.rxmode.mtu = config->mtu;
	conf.txmode.offloads = config->tx_offloads;
	if (config->rx_queues > 1) {
		struct rte_eth_dev_info dev;
		int ret = rte_eth_dev_info_get(port, &dev);

		if (ret != 0)
			return ret;
		/* Spread over the queues by IP addresses where the device can; else it does as it pleases. */
		conf.rx_adv_conf.rss_conf.rss_hf = RTE_ETH_RSS_IP & dev.flow_type_rss_offloads;
		if (conf.rx_adv_conf.rss_conf.rss_hf != 0)
			conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
	}
	return rte_eth_dev_configure(port, config->rx_queues, config->tx_queues, &conf);
}

int shim_link(uint16_t port, struct shim_link *out)
{
	struct rte_eth_link link;
	int ret;

	memset(&link, 0, sizeof(link));
	ret = rte_eth_link_get_nowait(port, &link);
	if (ret != 0)
		return ret;
	out->speed_mbps = link.link_speed;
	out->up = link.link_status == RTE_ETH_LINK_UP;
	return 0;
}

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, mbufs, n);
}

uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, mbufs, n);
}

int shim_mbuf_get_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n)
{
	return rte_mempool_get_bulk(pool, (void **)mbufs, n);
}

void shim_mbuf_put_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n)
{
	rte_mempool_put_bulk(pool, (void **)mbufs, n);
}

struct rte_mbuf *shim_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

void shim_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

static void check_mbuf(struct rte_mempool *pool, void *plain, void *object, unsigned int index)
{
	const struct rte_mbuf *m = object;

	(void)index;
	if (m->pool != pool || (uintptr_t)m % 64 != 0 || m->buf_addr != (const void *)(m + 1) ||
	    m->next != NULL || m->nb_segs != 1 || rte_mbuf_refcnt_read(m) != 1)
		*(int *)plain = 0;
}

int shim_pool_is_plain(struct rte_mempool *pool)
{
	int plain = 1;

	rte_mempool_obj_iter(pool, check_mbuf, &plain);
	return plain;
}

void shim_pool_flush_cache(struct rte_mempool *pool)
{
	struct rte_mempool_cache *cache = rte_mempool_default_cache(pool, rte_lcore_id());

	if (cache != NULL)
		rte_mempool_cache_flush(cache, pool);
}
