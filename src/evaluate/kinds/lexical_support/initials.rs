//! How the words that are sought in the data begin.

use super::tokens::{lowercase, number_of_bytes};

/// How some words begin: for the first two letters a bit for each eighth of the third; a letter that a word lacks is zero.
/// Most words of the data are told by this from those of the answer, before they are cut and looked up.
#[derive(Debug)]
pub(super) struct Initials([u8; 1 << 10]);

impl Initials {
    /// Whatever a word begins with.
    pub(super) const ALL: Self = Self([u8::MAX; 1 << 10]);

    /// Those of some words in all their forms, of which a stem keeps three letters. Negations have none in common.
    pub(super) fn of<'w>(words: impl Iterator<Item = &'w str>) -> Self {
        let mut initials = Self([0; 1 << 10]);
        for word in words {
            let mut lower = [0; 3];
            let letters = word.chars().map(lowercase).map(|letter| u8::try_from(letter).unwrap_or_default());
            for (place, letter) in lower.iter_mut().zip(letters) {
                *place = if letter.is_ascii_lowercase() { letter } else { 0 };
            }
            let (pair, third) = Self::place(number_of_bytes(&lower) as u32);
            initials.0[pair] |= third;
        }
        initials
    }

    /// Whether one of the words begins as these letters do, the first lowest.
    pub(super) fn has(&self, lower: u32) -> bool {
        let (pair, third) = Self::place(lower);
        self.0[pair] & third != 0
    }

    fn place(lower: u32) -> (usize, u8) {
        let lower = lower as usize;
        (((lower % 32) << 5) | ((lower >> 8) % 32), 1 << ((lower >> 16) % 8))
    }
}
