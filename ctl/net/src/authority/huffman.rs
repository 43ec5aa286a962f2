//! The Huffman code of HPACK (RFC 7541, appendix B). The code is canonical: the lengths alone define it.

/// Bits of the longest code.
const LONGEST: usize = 30;
/// The symbol that ends a string; no string may contain it (RFC 7541, section 5.2).
const END: u16 = 256;

/// Bits of each symbol's code, by symbol; the last is the end of string.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The code by length: the first code of each length, how many there are, and where their symbols start in `symbols`.
struct Code {
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    start: [usize; LONGEST + 1],
    /// All symbols by length, then by value.
    symbols: [u16; 257],
}

static CODE: Code = Code::new();

impl Code {
    const fn new() -> Self {
        let mut code = Self {
            first: [0; LONGEST + 1],
            count: [0; LONGEST + 1],
            start: [0; LONGEST + 1],
            symbols: [0; 257],
        };
        let (mut length, mut next, mut placed) = (1, 0, 0);
        while length <= LONGEST {
            next <<= 1;
            code.first[length] = next;
            code.start[length] = placed;
            let mut symbol = 0_u16;
            while symbol <= END {
                if LENGTHS[symbol as usize] as usize == length {
                    code.symbols[placed] = symbol;
                    code.count[length] += 1;
                    next += 1;
                    placed += 1;
                }
                symbol += 1;
            }
            length += 1;
        }
        code
    }
}

/// The decoded string; `None` where the bytes are no such string: the end symbol, or padding that is over seven bits or
/// other than ones (RFC 7541, section 5.2).
pub fn decode(encoded: &[u8]) -> Option<Vec<u8>> {
    // The shortest code has five bits.
    let mut decoded = Vec::with_capacity(encoded.len() * 8 / 5);
    let (mut bits, mut length) = (0_u32, 0_usize);
    for byte in encoded {
        for shift in (0..8).rev() {
            bits = bits << 1 | u32::from(byte >> shift & 1);
            length += 1;
            if length > LONGEST {
                return None;
            }
            let offset = bits.wrapping_sub(CODE.first[length]);
            if bits >= CODE.first[length] && offset < CODE.count[length] {
                let symbol = CODE.symbols[CODE.start[length] + offset as usize];
                decoded.push(u8::try_from(symbol).ok()?);
                (bits, length) = (0, 0);
            }
        }
    }
    let padding = (1_u32 << length) - 1;
    (length < 8 && bits == padding).then_some(decoded)
}

/// The encoded string, for tests.
#[cfg(test)]
pub fn encode(text: &[u8]) -> Vec<u8> {
    let mut bits = Vec::new();
    for &byte in text {
        let length = usize::from(LENGTHS[usize::from(byte)]);
        let symbols = &CODE.symbols[CODE.start[length]..];
        let offset = symbols.iter().position(|&symbol| symbol == u16::from(byte)).unwrap();
        let code = CODE.first[length] + u32::try_from(offset).unwrap();
        bits.extend((0..length).rev().map(|shift| code >> shift & 1 == 1));
    }
    while bits.len() % 8 != 0 {
        bits.push(true);
    }
    bits.chunks(8).map(|bits| bits.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            text.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    #[test]
    fn the_examples_of_the_rfc_decode() {
        // RFC 7541, appendix C.4 and C.6.
        for (encoded, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("6402", "302"),
            ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com"),
        ] {
            assert_eq!(decode(&hex(encoded)).as_deref(), Some(text.as_bytes()));
            assert_eq!(encode(text.as_bytes()), hex(encoded));
        }
    }

    #[test]
    fn padding_of_eight_bits_or_of_zeros_and_the_end_symbol_are_refused() {
        for encoded in ["ff", "a8eb10649cbfff", "640000", "fffffffc", "ffffffff"] {
            assert_eq!(decode(&hex(encoded)), None, "{encoded}");
        }
        assert_eq!(decode(&[]), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(text: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&text)), Some(text));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            if let Some(text) = decode(&bytes) {
                prop_assert_eq!(encode(&text), bytes);
            }
        }
    }
}
