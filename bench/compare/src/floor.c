/* The least that a copy can cost: a buffer is taken from the pool and freed by the port that "sends" it, and nothing is
 * done in between. Where copies share a payload, each is a buffer with a reference to the same second one, which the port gives
 * back. Usage: floor EAL-ARGUMENTS -- DEVICE, then a line "BURST MBUFS SHARED" on standard input for each run, SHARED being 0 or
 * 1. The answer is a line "MBUFS NANOSECONDS" of this thread's CPU time. It sleeps in between. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <rte_bus_vdev.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#define POOL 8191
#define CACHE 512
#define MAX_BURST 512
/* Room for a header and a short frame, so that few pages hold many buffers. */
#define DATA_ROOM (RTE_PKTMBUF_HEADROOM + 256)
#define FRAME 102

static void die(const char *what)
{
    fprintf(stderr, "floor: %s\n", what);
    exit(1);
}

static long long cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Buffers of a pool are raw: a length is all that they lack, and it stays. */
static void fill(struct rte_mempool *pool, void *opaque, void *object, unsigned int index)
{
    struct rte_mbuf *mbuf = object;
    (void)pool, (void)opaque, (void)index;
    mbuf->data_len = mbuf->pkt_len = FRAME;
}

/* Chains the payload behind each buffer: one reference for each, added at once. */
static void share(struct rte_mbuf **batch, unsigned int burst, struct rte_mbuf *payload)
{
    rte_mbuf_refcnt_update(payload, burst);
    for (unsigned int i = 0; i < burst; i++) {
        batch[i]->next = payload;
        batch[i]->nb_segs = 2;
    }
}

static uint16_t start_port(const char *device, struct rte_mempool *pool)
{
    struct rte_eth_conf config = {0};
    uint16_t port;
    if (rte_dev_probe(device) != 0)
        die("no such device");
    RTE_ETH_FOREACH_DEV(port)
        break;
    if (rte_eth_dev_configure(port, 1, 1, &config) != 0
        || rte_eth_rx_queue_setup(port, 0, 512, SOCKET_ID_ANY, NULL, pool) != 0
        || rte_eth_tx_queue_setup(port, 0, 512, SOCKET_ID_ANY, NULL) != 0 || rte_eth_dev_start(port) != 0)
        die("the port does not start");
    return port;
}

int main(int argc, char **argv)
{
    int taken = rte_eal_init(argc, argv);
    if (taken < 0 || taken + 1 >= argc)
        die("usage: floor EAL-ARGUMENTS -- DEVICE");
    struct rte_mempool *received = rte_pktmbuf_pool_create("received", 2047, 0, 0, 2176, SOCKET_ID_ANY);
    struct rte_mempool *pool = rte_pktmbuf_pool_create("floor", POOL, CACHE, 0, DATA_ROOM, SOCKET_ID_ANY);
    if (received == NULL || pool == NULL)
        die("no memory for the pools");
    rte_mempool_obj_iter(pool, fill, NULL);
    uint16_t port = start_port(argv[taken + 1], received);

    /* What all share; the last reference is ours. */
    struct rte_mbuf *payload = rte_pktmbuf_alloc(received);
    if (payload == NULL)
        die("no buffer for the payload");
    unsigned int burst, shared;
    long long mbufs;
    struct rte_mbuf *batch[MAX_BURST];
    puts("ready");
    fflush(stdout);
    while (scanf("%u %lld %u", &burst, &mbufs, &shared) == 3) {
        if (burst == 0 || burst > MAX_BURST)
            die("no such burst");
        long long done = 0, start = cpu_ns();
        for (; done < mbufs; done += burst) {
            if (rte_mempool_get_bulk(pool, (void **)batch, burst) != 0)
                die("the pool is empty: the port keeps buffers");
            if (shared)
                share(batch, burst, payload);
            if (rte_eth_tx_burst(port, 0, batch, burst) != burst)
                die("the port is full: it does not free at once");
        }
        printf("%lld %lld\n", done, cpu_ns() - start);
        fflush(stdout);
    }
    return 0;
}
