//! Every mbuf has one owner, and comes back to its pool whatever happens.
// Clippy knows tests, but not their helpers.
#![allow(clippy::unwrap_used)]

mod common;
use common::*;
use dpdk::{BATCH, BURST, Burst, Mbuf, PortConfig, TxBatch};

/// net_ring hands what it is given to its own receive side; its ring holds 1,023.
const RING: &str = "vdev:net_ring0";
const RING_ROOM: usize = 1023;

#[test]
fn headers_that_are_too_few_make_no_copy_and_lose_no_buffer_and_no_reference() {
    let eal = eal();
    let pool = pool(&eal);
    let (_port, mut queues) = start(&eal, &pool, "vdev:net_ring0", &PortConfig::default());
    let received = Mbuf::from_bytes(&pool, &payload(400)).unwrap();
    let mut shared = received.share(0..400, 9).ok().unwrap();
    let mut batch = TxBatch::new();
    for there in [0, 1, 8] {
        assert!(!batch.copies(&pool, 9, &payload(100), &few_heads(there)), "{there} headers for 9 copies");
        assert!(!batch.chains(&pool, 9, &mut shared, &few_heads(there)), "{there} headers for 9 chains");
        assert_eq!((batch.len(), shared.references(), pool.in_use()), (0, 9, 1));
    }
    // The buffers are as fresh as ever.
    assert!(batch.copies(&pool, BATCH, &payload(100), &few_heads(BATCH)));
    assert_eq!(queues.tx[0].transmit(&mut batch), BATCH);
    assert_eq!(drain(&mut queues.rx[0]).len(), BATCH);
    drop(shared);
    is_whole(&pool);
}

#[test]
fn a_full_ring_takes_a_prefix_and_leaves_the_rest_to_the_batch() {
    let eal = eal();
    let pool = dpdk::Mempool::new(&eal, "many", 4095, 0, 2048).unwrap();
    let (_port, mut queues) = start(&eal, &pool, RING, &PortConfig::default());
    let (mut batch, mut sent) = (TxBatch::new(), 0);
    let numbered = |base: usize| move |copy: usize| head(base + copy);
    loop {
        assert!(batch.copies(&pool, BATCH - batch.len(), b"frame", &heads(numbered(sent))));
        let accepted = queues.tx[0].transmit(&mut batch);
        sent += accepted;
        assert_eq!(batch.len(), BATCH - accepted);
        if accepted < BATCH {
            break;
        }
    }
    assert_eq!(sent, RING_ROOM);
    assert_eq!(queues.tx[0].transmit(&mut batch), 0, "it is full");
    assert_eq!(pool.in_use() as usize, RING_ROOM + batch.len());

    // What comes out are the first ones, each once; then there is room for what the batch had kept.
    let mut seen = drain(&mut queues.rx[0]);
    assert_eq!(seen.len(), RING_ROOM);
    let kept = batch.len();
    assert_eq!(queues.tx[0].transmit(&mut batch), kept);
    assert!(batch.is_empty());
    seen.extend(drain(&mut queues.rx[0]));
    for (copy, frame) in seen.iter().enumerate() {
        assert_eq!(frame[..], [&header(copy)[..], b"frame"].concat(), "frame {copy}");
    }
    assert_eq!(seen.len(), RING_ROOM + kept);
    is_whole(&pool);
}

#[test]
fn what_a_full_ring_refused_is_freed_once_by_discard_or_by_drop() {
    let eal = eal();
    let pool = dpdk::Mempool::new(&eal, "many", 4095, 0, 2048).unwrap();
    let (_port, mut queues) = start(&eal, &pool, RING, &PortConfig::default());
    let mut batch = TxBatch::new();
    while queues.tx[0].transmit(&mut batch) == batch.len() || batch.is_empty() {
        assert!(batch.copies(&pool, batch.room(), b"frame", &heads(head)));
    }
    let refused = batch.len();
    assert!(refused > 0);
    assert_eq!(pool.in_use() as usize, RING_ROOM + refused);
    assert_eq!(batch.discard_all(), refused);
    assert_eq!(batch.discard_all(), 0);
    assert_eq!(pool.in_use() as usize, RING_ROOM);

    assert!(batch.copies(&pool, 3, b"frame", &heads(head)));
    assert_eq!(queues.tx[0].transmit(&mut batch), 0);
    drop(batch);
    assert_eq!(pool.in_use() as usize, RING_ROOM);
    drain(&mut queues.rx[0]);
    is_whole(&pool);
}

#[test]
fn an_exhausted_pool_makes_all_copies_or_none() {
    let eal = eal();
    let pool = dpdk::Mempool::new(&eal, "few", 127, 0, 2048).unwrap();
    let (mut first, mut second) = (TxBatch::new(), TxBatch::new());
    assert!(first.copies(&pool, BATCH, b"frame", &heads(head)));
    for count in [64, 127, usize::MAX] {
        assert!(!second.copies(&pool, count, b"frame", &heads(head)), "{count} of 63");
    }
    assert!(second.is_empty());
    assert!(second.copies(&pool, 63, b"frame", &heads(head)));
    assert_eq!(pool.in_use(), 127);
    assert!(Mbuf::alloc(&pool).is_none());
    assert!(Mbuf::from_bytes(&pool, b"frame").is_none());

    // Without header mbufs no chain is made, and the payload keeps all its references.
    second.discard_all();
    let mut shared = Mbuf::from_bytes(&pool, &payload(1400)).unwrap().share(0..1400, 100).ok().unwrap();
    assert!(!second.chains(&pool, 63, &mut shared, &heads(head)), "62 are left");
    assert_eq!((second.len(), shared.references()), (0, 100));
    assert!(second.chains(&pool, 62, &mut shared, &heads(head)));
    assert_eq!(shared.references(), 38);
    drop((first, second, shared));
    is_whole(&pool);
}

#[test]
fn a_batch_takes_no_more_than_it_has_room_for() {
    let eal = eal();
    let pool = pool(&eal);
    let mut batch = TxBatch::new();
    assert!(!batch.copies(&pool, BATCH + 1, b"frame", &heads(head)));
    assert!(batch.copies(&pool, BATCH - 1, b"frame", &heads(head)));
    assert!(!batch.copies(&pool, 2, b"frame", &heads(head)));
    assert!(batch.push(Mbuf::alloc(&pool).unwrap()).is_ok());
    let refused = batch.push(Mbuf::from_bytes(&pool, b"one too many").unwrap()).unwrap_err();
    assert_eq!(refused.data(), b"one too many");
    assert_eq!((batch.len(), batch.room()), (BATCH, 0));
    assert!(batch.copies(&pool, 0, b"frame", &heads(head)), "none always fit");
    drop((batch, refused));
    is_whole(&pool);
}

#[test]
fn a_payload_goes_back_when_the_last_of_its_holders_is_gone() {
    let eal = eal();
    let pool = pool(&eal);
    // In each order of dropping the batch, the rest of the references and a part of the chains.
    for (chains, references, batch_first) in
        [(2, 2, true), (2, 2, false), (2, 9, true), (2, 9, false), (0, 5, true), (64, 65_535, false)]
    {
        let mut batch = TxBatch::new();
        let received = Mbuf::from_bytes(&pool, &payload(500)).unwrap();
        let mut shared = received.share(100..500, references).ok().unwrap();
        assert_eq!((shared.len(), shared.references()), (400, usize::from(references)));
        assert!(
            !batch.chains(&pool, usize::from(references) + 1, &mut shared, &heads(head)),
            "more than there are references"
        );
        assert!(batch.chains(&pool, chains, &mut shared, &heads(head)));
        assert_eq!(pool.in_use() as usize, 1 + chains);
        if batch_first {
            drop(batch);
            assert_eq!(pool.in_use() as usize, usize::from(usize::from(references) > chains));
            drop(shared);
        } else {
            drop(shared);
            assert_eq!(pool.in_use() as usize, if chains > 0 { 1 + chains } else { 0 });
            drop(batch);
        }
        assert_eq!(pool.in_use(), 0, "{chains} chains of {references}, batch first: {batch_first}");
        is_whole(&pool);
    }
}

#[test]
fn what_cannot_be_shared_comes_back_unchanged() {
    let eal = eal();
    let pool = pool(&eal);
    let mut mbuf = Mbuf::from_bytes(&pool, &payload(100)).unwrap();
    #[allow(clippy::reversed_empty_ranges)]
    for (range, references) in [(0..101, 1), (60..40, 1), (200..300, 1), (0..100, 0)] {
        mbuf = mbuf.share(range, references).err().unwrap();
        assert_eq!(mbuf.data(), payload(100));
    }
    drop(mbuf);
    is_whole(&pool);
}

#[test]
fn a_burst_frees_what_was_not_taken() {
    let eal = eal();
    let pool = pool(&eal);
    let (_port, mut queues) = start(&eal, &pool, RING, &PortConfig::default());
    let (mut batch, mut burst) = (TxBatch::new(), Burst::new());
    assert!(batch.copies(&pool, 40, b"frame", &heads(head)));
    assert_eq!(queues.tx[0].transmit(&mut batch), 40);

    assert_eq!(queues.rx[0].receive(&mut burst), BURST);
    let taken = burst.take(3).unwrap();
    assert!(burst.take(3).is_none() && burst.get(3).is_none(), "taken once");
    assert!(burst.take(BURST).is_none() && burst.get(BURST).is_none(), "past the end");
    assert_eq!(
        burst.iter().map(|(index, _)| index).collect::<Vec<_>>(),
        (0..32).filter(|&i| i != 3).collect::<Vec<_>>()
    );
    assert_eq!(taken.data()[..42], header(3));

    assert_eq!(queues.rx[0].receive(&mut burst), 8);
    assert_eq!(
        (burst.len(), pool.in_use()),
        (8, 9),
        "the first burst is freed but for the mbuf that was taken"
    );
    assert_eq!(queues.rx[0].receive(&mut burst), 0);
    assert!(burst.is_empty() && burst.get(0).is_none());
    drop(taken);
    assert_eq!(pool.in_use(), 0);

    assert!(batch.copies(&pool, 5, b"frame", &heads(head)));
    assert_eq!(queues.tx[0].transmit(&mut batch), 5);
    assert_eq!(queues.rx[0].receive(&mut burst), 5);
    drop(burst);
    is_whole(&pool);
}

#[test]
fn chains_are_not_offered_to_a_driver_that_would_garble_them() {
    let eal = eal();
    let pool = pool(&eal);
    let (_port, mut queues) = start(&eal, &pool, RING, &PortConfig::default());
    assert!(!queues.tx[0].takes_chains());
    let mut batch = TxBatch::new();
    let mut shared = Mbuf::from_bytes(&pool, &payload(500)).unwrap().share(0..500, 2).ok().unwrap();
    assert!(batch.chains(&pool, 2, &mut shared, &heads(head)));
    assert_eq!(queues.tx[0].transmit(&mut batch), 0);
    assert_eq!(batch.discard_all(), 2);
    assert!(batch.copies(&pool, 2, b"frame", &heads(head)), "an emptied batch is as good as new");
    assert_eq!(queues.tx[0].transmit(&mut batch), 2);
    drain(&mut queues.rx[0]);
    is_whole(&pool);
}

#[test]
fn closing_a_port_frees_what_is_in_its_ring() {
    let eal = eal();
    let pool = pool(&eal);
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.pcap");
    write_pcap(&input, &vec![payload(100); 10]);
    // infinite_rx preloads the frames into a ring of the driver's.
    let device = format!("vdev:net_pcap0,rx_pcap={},infinite_rx=1", input.display());
    let (port, mut queues) = start(&eal, &pool, &device, &PortConfig::default());
    let mut burst = Burst::new();
    assert_eq!(queues.rx[0].receive(&mut burst), BURST);
    assert!(burst.iter().all(|(_, mbuf)| mbuf.data() == payload(100)));
    assert!(pool.in_use() > 0);
    drop(burst);
    drop(port);
    assert!(pool.in_use() > 0, "the queues hold the port open");
    drop(queues);
    is_whole(&pool);
}

#[test]
fn a_burst_takes_mbufs_that_were_not_received_and_frees_those_that_nobody_takes() {
    let eal = eal();
    let pool = pool(&eal);
    let mut burst = Burst::new();
    for round in 0..2_u8 {
        for number in 0..BURST {
            let mbuf = Mbuf::from_bytes(&pool, &[round, u8::try_from(number).unwrap()]).unwrap();
            assert!(burst.push(mbuf).is_ok());
        }
        let one_more = Mbuf::from_bytes(&pool, &[9]).unwrap();
        assert_eq!(burst.push(one_more).map_err(|mbuf| mbuf.data().to_vec()), Err(vec![9]));
        assert_eq!(burst.len(), BURST);
        assert_eq!(burst.take(3).unwrap().data(), [round, 3]);
        assert!(burst.get(3).is_none());
        assert_eq!(burst.iter().count(), BURST - 1);
        burst.clear();
        is_whole(&pool);
    }
    assert!(burst.push(Mbuf::from_bytes(&pool, &[7]).unwrap()).is_ok());
    drop(burst);
    is_whole(&pool);
}

#[test]
fn an_mbuf_grows_and_shrinks_within_its_buffer() {
    let eal = eal();
    let pool = pool(&eal);
    let mut mbuf = Mbuf::alloc(&pool).unwrap();
    assert!(mbuf.is_empty() && mbuf.is_contiguous());
    mbuf.append(100).unwrap().copy_from_slice(&payload(100));
    assert!(mbuf.adj(20) && mbuf.trim(30));
    assert_eq!(mbuf.data(), &payload(100)[20..70]);
    assert_eq!((mbuf.len(), mbuf.packet_len()), (50, 50));
    for too_much in [51, 65_536, usize::MAX] {
        assert!(!mbuf.adj(too_much) && !mbuf.trim(too_much), "{too_much}");
    }
    mbuf.data_mut().fill(7);
    assert!(mbuf.append(2048 - 70 + 1).is_none(), "one byte over");
    assert!(mbuf.append(usize::MAX).is_none());
    mbuf.append(2048 - 70).unwrap().fill(8);
    assert_eq!(mbuf.len(), 2048 - 20);
    assert_eq!(mbuf.data()[..51], [[7; 50].as_slice(), &[8]].concat());
    assert!(Mbuf::from_bytes(&pool, &payload(2049)).is_none());
    drop(mbuf);
    is_whole(&pool);
}

#[test]
fn a_copy_takes_256_bytes_and_no_more() {
    let eal = eal();
    let pool = pool(&eal);
    let mut batch = TxBatch::new();
    for (len, taken) in [(256, true), (257, false), (70_000, false)] {
        assert_eq!(batch.copies(&pool, 1, &payload(len), &heads(head)), taken, "{len} bytes");
    }
    assert_eq!(batch.len(), 1);
    drop(batch);
    is_whole(&pool);
}

#[test]
fn a_payload_that_threads_let_go_of_at_once_goes_back_once() {
    const THREADS: usize = 4;
    let eal = eal();
    let pool = pool(&eal);
    let gate = std::sync::Barrier::new(THREADS + 1);
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..THREADS)
            .map(|_| {
                let (sender, batches) = std::sync::mpsc::channel::<TxBatch>();
                scope.spawn(|| {
                    let _registration = eal.register_thread().unwrap();
                    for batch in batches {
                        gate.wait();
                        drop(batch);
                        gate.wait();
                    }
                });
                sender
            })
            .collect();
        for round in 0..500 {
            let mut shared = Mbuf::from_bytes(&pool, &payload(500)).unwrap().share(0..500, 100).ok().unwrap();
            for sender in &senders {
                let mut batch = TxBatch::new();
                assert!(batch.chains(&pool, 1 + round % 3, &mut shared, &heads(head)));
                sender.send(batch).unwrap();
            }
            gate.wait();
            drop(shared);
            gate.wait();
            assert_eq!(pool.in_use(), 0, "round {round}");
        }
        drop(senders);
    });
    is_whole(&pool);
}
