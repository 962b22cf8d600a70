//! Small changes of inputs.

/// Makes inputs out of others. The same seed makes the same ones.
pub(crate) struct Mutator {
    state: u64,
    words: &'static [&'static str],
}

impl Mutator {
    pub(crate) fn new(seed: u64, words: &'static [&'static str]) -> Self {
        Self { state: seed, words }
    }

    /// A number below `limit` (SplitMix64).
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 1).unwrap_or(0) % limit.max(1)
    }

    /// One of `inputs`, changed in one to six places.
    pub(crate) fn change(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut input = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(6) {
            let at = self.below(input.len() + 1);
            match self.below(8) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 if at < input.len() => input[at] = self.byte(),
                2 => input.insert(at, self.byte()),
                3 if at < input.len() => {
                    let end = (at + 1 + self.below(8)).min(input.len());
                    input.drain(at..end);
                }
                4 => {
                    let word = self.words[self.below(self.words.len())].as_bytes();
                    input.splice(at..at, word.iter().copied());
                }
                5 if at < input.len() => {
                    // A piece of it again, many times now and then.
                    let end = (at + 1 + self.below(16)).min(input.len());
                    let times = [1, 2, 16, 200][self.below(4)];
                    let piece = input[at..end].repeat(times);
                    input.splice(at..at, piece);
                }
                6 => {
                    let other = &inputs[self.below(inputs.len())];
                    let from = self.below(other.len() + 1);
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
                _ => input.truncate(at.max(1)),
            }
        }
        input
    }

    fn byte(&mut self) -> u8 {
        const ODD: &[u8] = b"\0\x01\x7f\x80\xff\r\n\t \"'\\/%.:;,*[]{}()@#?&=-_0a\xc3\xe2";
        match self.below(3) {
            0 => u8::try_from(self.below(256)).unwrap_or(0),
            _ => ODD[self.below(ODD.len())],
        }
    }
}
