//! An independent HPACK decoder is the judge of what is passed on.

use loona_hpack::Decoder;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// A header as it is decoded: name and value.
type Header = (Vec<u8>, Vec<u8>);

const SOCKET: &str = "%2Frun%2Fbcastd%2Fapi.sock";

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Head { length: payload.len(), kind, flags, stream: [0, 0, 0, stream] }.write(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

fn request(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, block)
}

fn after_preface(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE, &frames.concat()].concat()
}

/// Output for input that comes in so many pieces.
fn filtered(input: &[u8], cuts: &[Index]) -> Vec<u8> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    cuts.extend([0, input.len()]);
    cuts.sort_unstable();
    let (mut filter, mut out) = (Filter::default(), Vec::new());
    for pair in cuts.windows(2) {
        filter.push(&input[pair[0]..pair[1]], &mut out);
    }
    filter.end(&mut out);
    out
}

/// The payloads of a connection's header blocks, decoded one after the other.
fn decoded(bytes: &[u8]) -> Vec<Vec<Header>> {
    let mut frames = bytes.strip_prefix(PREFACE).unwrap();
    let (mut decoder, mut blocks, mut block) = (Decoder::new(), Vec::new(), Vec::new());
    while let Some(head) = Head::read(frames) {
        let payload = &frames[HEAD..HEAD + head.length];
        frames = &frames[HEAD + head.length..];
        assert!(head.length <= FRAME_BYTES);
        if head.kind == HEADERS || head.kind == CONTINUATION {
            let start = if head.kind == HEADERS && head.flags & PRIORITY != 0 { 5 } else { 0 };
            assert_eq!(head.flags & PADDED, 0);
            block.extend_from_slice(&payload[start..]);
            if head.flags & END_HEADERS != 0 {
                blocks.push(decoder.decode(&block).unwrap());
                block.clear();
            }
        }
    }
    blocks
}

fn authority_of(block: &[Header]) -> &str {
    std::str::from_utf8(&block.iter().find(|(name, _)| name == AUTHORITY_NAME).unwrap().1).unwrap()
}

const AUTHORITY_NAME: &[u8] = b":authority";

/// A literal; `first` is its first byte, with an index of the name or none.
fn literal(first: u8, name: &[u8], value: &[u8], huffman: bool) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut string = |text: &[u8]| {
        let (text, flag) = if huffman { (huffman::encode(text), 0x80) } else { (text.to_vec(), 0) };
        assert!(text.len() < 0x7f, "the tests' strings are short");
        bytes.push(u8::try_from(text.len()).unwrap() | flag);
        bytes.extend(text);
    };
    let index = if first & 0x40 == 0 { first & 0x0f } else { first & 0x3f };
    if index == 0 {
        string(name);
    }
    string(value);
    bytes
}

#[test]
fn a_sockets_path_becomes_a_host_name_however_it_is_encoded() {
    for path in ["/run/bcastd/api.sock", SOCKET, "unix:///run/a b", "[", "a:b:c"] {
        for huffman in [false, true] {
            for first in [0x41, 0x40, 0x01, 0x00, 0x11, 0x10] {
                let block =
                    [literal(first, AUTHORITY_NAME, path.as_bytes(), huffman), vec![0x83, 0x86]].concat();
                let out = filtered(&after_preface(&[request(&block)]), &[]);
                let blocks = decoded(&out);
                assert_eq!(authority_of(&blocks[0]), "x".repeat(path.len()), "{path} {first:#x}");
                assert_eq!(blocks[0].len(), 3);
            }
        }
    }
}

#[test]
fn later_requests_that_refer_to_the_entry_find_the_host_name() {
    let first =
        [literal(0x40, b"te", b"trailers", true), literal(0x41, b"", SOCKET.as_bytes(), true)].concat();
    // The entry itself, then its name with another path, then that.
    let second = [vec![0x80 | 62], literal(0x40 | 62, b"", b"/other", false), vec![0x80 | 62]].concat();
    let out = filtered(&after_preface(&[request(&first), request(&second)]), &[]);
    let blocks = decoded(&out);
    let values: Vec<_> = blocks[1].iter().map(|(_, value)| String::from_utf8_lossy(value)).collect();
    assert_eq!(values, ["x".repeat(SOCKET.len()), "xxxxxx".into(), "xxxxxx".into()]);
}

#[test]
fn an_empty_authority_becomes_one_where_the_table_allows_it() {
    for block in [&[0x81][..], &[0x01, 0x00], &[0x11, 0x80]] {
        assert_eq!(authority_of(&decoded(&filtered(&after_preface(&[request(block)]), &[]))[0]), "x");
    }
    let with_indexing = after_preface(&[request(&[0x41, 0x00])]);
    assert_eq!(filtered(&with_indexing, &[]), with_indexing);
}

#[test]
fn padding_priority_and_continuations_are_followed_and_a_block_that_grew_is_cut_anew() {
    let block = literal(0x41, b"", SOCKET.as_bytes(), true);
    let (one, two) = block.split_at(7);
    let padded = [&[3, 0, 0, 0, 0, 5][..], one, &[0, 0, 0]].concat();
    let frames = [
        frame(HEADERS, PADDED | PRIORITY, 1, &padded),
        frame(CONTINUATION, 0, 1, &[]),
        frame(CONTINUATION, END_HEADERS, 1, two),
    ];
    let out = filtered(&after_preface(&frames), &[]);
    assert_eq!(authority_of(&decoded(&out)[0]), "x".repeat(SOCKET.len()));
    // A header of nearly a frame behind it: with the longer authority it takes a second frame.
    let cookie = [&[0x00, 0x01, b'c', 0x7f][..], &integer(16_000), &vec![b'v'; 16_127]].concat();
    let path = "/".repeat(600);
    let short = huffman::encode(path.as_bytes());
    let authority = [&[0x01, 0xff][..], &integer(short.len() - 127), &short].concat();
    let block = [authority, cookie].concat();
    let (one, two) = block.split_at(FRAME_BYTES);
    let frames = [frame(HEADERS, 0, 3, one), frame(CONTINUATION, END_HEADERS, 3, two)];
    let blocks = decoded(&filtered(&after_preface(&frames), &[]));
    assert_eq!(authority_of(&blocks[0]), "x".repeat(600));
    assert_eq!(blocks[0][1].1.len(), 16_127);
}

/// The bytes of an HPACK integer after a prefix that is full.
fn integer(mut rest: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while rest >= 128 {
        bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

#[test]
fn what_cannot_be_followed_is_passed_on_as_it_came_and_so_is_all_behind_it() {
    let path = request(&literal(0x41, b"", b"/run/api.sock", false));
    let long = frame(HEADERS, 0, 1, &vec![0x83; FRAME_BYTES]);
    let more = frame(CONTINUATION, 0, 1, &vec![0x83; FRAME_BYTES]);
    for (what, frames) in [
        ("a frame over the limit", vec![frame(HEADERS, END_HEADERS, 1, &vec![0x83; FRAME_BYTES + 1])]),
        ("a block without end", vec![long, more.clone(), more.clone(), more.clone(), more]),
        ("another frame amid a block", vec![frame(HEADERS, 0, 1, &[0x83]), frame(0, 0, 1, b"data")]),
        (
            "another stream's continuation",
            vec![frame(HEADERS, 0, 1, &[0x83]), frame(CONTINUATION, 4, 3, &[])],
        ),
        ("padding over the frame", vec![frame(HEADERS, END_HEADERS | PADDED, 1, &[9, 0x83])]),
        ("no index", vec![request(&[0x80])]),
        ("an entry that is not there", vec![request(&[0xff, 0x00])]),
        ("a table over the limit", vec![request(&[0x3f, 0xe2, 0x1f])]),
        ("a string over the block", vec![request(&[0x41, 0x7f, 0xff, 0xff, 0xff, 0x7f])]),
        ("an integer without end", vec![request(&[0x41, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f])]),
        ("no Huffman code", vec![request(&[0x41, 0x81, 0x00])]),
    ] {
        let input = after_preface(&[frames, vec![path.clone()]].concat());
        assert_eq!(filtered(&input, &[]), input, "{what}");
    }
    for input in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"", b"PRI"] {
        let input = [input, &path].concat();
        assert_eq!(filtered(&input, &[]), input);
    }
}

#[test]
fn it_holds_no_more_than_one_block_within_the_limit() {
    let (mut filter, mut out) = (Filter::default(), Vec::new());
    filter.push(PREFACE, &mut out);
    assert!(filter.is_begun());
    filter.push(&frame(HEADERS, 0, 1, &[]), &mut out);
    for _ in 0..100_000 {
        filter.push(&frame(CONTINUATION, 0, 1, &[]), &mut out);
        assert!(filter.held.len() <= HELD_BYTES);
    }
    assert!(matches!(filter.state, State::Open));
}

fn ordinary() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just("[::1]:7".to_owned()), Just("bcastd:80".to_owned()), "[a-z0-9.-]{1,20}"]
        .prop_map(String::into_bytes)
}

fn any_authority() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        ordinary(),
        "[ -~]{1,40}".prop_map(String::into_bytes),
        proptest::collection::vec(0x80_u8.., 1..9)
    ]
}

/// One representation of a header (RFC 7541, section 6), with texts of these kinds.
fn header(authority: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let first = proptest::sample::select(vec![0x40_u8, 0x00, 0x10]);
    let text = || "[a-z]{1,30}".prop_map(String::into_bytes);
    prop_oneof![
        2 => (first.clone(), authority, any::<bool>(), any::<bool>()).prop_map(|(first, value, indexed, huffman)| {
            literal(first | u8::from(indexed), AUTHORITY_NAME, &value, huffman && value.is_ascii())
        }),
        4 => (first.clone(), text(), text(), any::<bool>())
            .prop_map(|(first, name, value, huffman)| literal(first, &name, &value, huffman)),
        // An indexed name: of the static table, or of the dynamic one, where it may be an authority's.
        2 => (2_u8..15, text(), any::<bool>()).prop_map(|(index, value, huffman)| literal(index, b"", &value, huffman)),
        1 => (62_u8..63, "/[a-z]{0,9}").prop_map(|(index, value)| literal(0x40 | index, b"", value.as_bytes(), false)),
        // Indexed headers: those of the static table that have a value, and the newest of the dynamic one.
        3 => prop_oneof![2_u8..15, 62_u8..70].prop_map(|index| vec![0x80 | index]),
        1 => (0_u8..31).prop_map(|bytes| vec![0x20 | bytes]),
        1 => Just(vec![0x3f, 0xe1, 0x1f]),
    ]
}

fn blocks(authority: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let block = proptest::collection::vec(header(authority), 1..12).prop_map(|headers| headers.concat());
    proptest::collection::vec(block, 1..12)
}

/// As many of the blocks as the independent decoder takes, with what it makes of them.
fn readable(blocks: Vec<Vec<u8>>) -> (Vec<Vec<u8>>, Vec<Vec<Header>>) {
    let mut decoder = Decoder::new();
    blocks.into_iter().map_while(|block| decoder.decode(&block).ok().map(|headers| (block, headers))).unzip()
}

fn frames_of(blocks: &[Vec<u8>]) -> Vec<u8> {
    let data = frame(0, 0, 1, b"\0\0\0\0\0");
    after_preface(&blocks.iter().flat_map(|block| [request(block), data.clone()]).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn with_ordinary_authorities_the_bytes_stay_as_they_are(
        blocks in blocks(ordinary()), cuts: Vec<Index>,
    ) {
        // With an entry's name a path may be an authority's: those blocks are for the next test.
        let (blocks, headers) = readable(blocks);
        prop_assume!(headers.iter().flatten().all(|(name, value)| name != AUTHORITY_NAME || !value.starts_with(b"/")));
        let input = frames_of(&blocks);
        prop_assert_eq!(filtered(&input, &cuts), input);
    }

    #[test]
    fn only_what_is_no_authority_is_replaced_and_the_tables_stay_in_step(
        blocks in blocks(any_authority()), cuts: Vec<Index>,
    ) {
        let (blocks, before) = readable(blocks);
        let after = decoded(&filtered(&frames_of(&blocks), &cuts));
        prop_assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().flatten().zip(after.iter().flatten()) {
            prop_assert_eq!(&before.0, &after.0);
            let stays = before.0 != AUTHORITY_NAME || http::uri::Authority::try_from(&before.1[..]).is_ok();
            let expected = if stays { before.1.clone() } else { vec![b'x'; before.1.len()] };
            prop_assert_eq!(&after.1, &expected);
        }
    }

    #[test]
    fn any_bytes_in_any_pieces_are_passed_on_in_the_same_way(bytes: Vec<u8>, cuts: Vec<Index>) {
        let input = [PREFACE, &bytes].concat();
        let whole = filtered(&input, &[]);
        prop_assert_eq!(filtered(&input, &cuts), whole);
        prop_assert_eq!(filtered(&bytes, &cuts), bytes);
    }
}

/// Bytes from hexadecimal digits.
fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |digit: &u8| u8::try_from(char::from(*digit).to_digit(16).unwrap()).unwrap();
    hex.as_bytes().chunks(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
}

#[test]
fn what_real_clients_send_is_passed_on_or_given_a_host_name() {
    // `Version` over unix:/tmp/api-cap.sock, as taken from the socket: grpc-go 1.33.3, grpcio 1.51.1, grpcio 1.85.3.
    for (client, block, before) in [
        (
            "grpc-go 1.33",
            "8386459062320d095fb857ba41a12c712d8831ea4186a0e41d139d095f8b1d75d0620d263d4c4d65647a8b9acac8b4c7602bb2\
             caecff40027465864d833505b11f40899acac8b24d494f6a7f867df7df6c4edb",
            "localhost",
        ),
        (
            "grpcio 1.51",
            "40053a70617468172f62636173742e76312e42636173742f56657273696f6e400a3a617574686f72697479096c6f63616c686f\
             73748386400c636f6e74656e742d74797065106170706c69636174696f6e2f677270634002746508747261696c657273401467\
             7270632d6163636570742d656e636f64696e67176964656e746974792c206465666c6174652c20677a6970400c677270632d74\
             696d656f757405323031306d400a757365722d6167656e7430677270632d707974686f6e2f312e35312e3120677270632d632f\
             32392e302e3020286c696e75783b2063687474703229",
            "localhost",
        ),
        (
            "grpcio 1.85",
            "40053a70617468172f62636173742e76312e42636173742f56657273696f6e400a3a617574686f7269747912746d7025324661\
             70692d6361702e736f636b8386400c636f6e74656e742d74797065106170706c69636174696f6e2f6772706340027465087472\
             61696c6572734014677270632d6163636570742d656e636f64696e67176964656e746974792c206465666c6174652c20677a69\
             70400c677270632d74696d656f7574023253400a757365722d6167656e7430677270632d707974686f6e2f312e38352e332067\
             7270632d632f35382e302e3020286c696e75783b2063687474703229",
            "tmp%2Fapi-cap.sock",
        ),
    ] {
        let input = after_preface(&[request(&bytes_of(block))]);
        let (raw, passed) = (decoded(&input), decoded(&filtered(&input, &[])));
        assert_eq!(authority_of(&raw[0]), before, "{client}");
        let expected = if before.contains('%') { "x".repeat(before.len()) } else { before.to_owned() };
        assert_eq!(authority_of(&passed[0]), expected, "{client}");
        let others = |block: &[Header]| {
            block.iter().filter(|(name, _)| name != AUTHORITY_NAME).cloned().collect::<Vec<_>>()
        };
        assert_eq!(others(&raw[0]), others(&passed[0]), "{client}");
    }
}
