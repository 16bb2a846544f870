//! Words and numbers of a text, each with a key that is the same for forms of the same word or number.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// A number that an agent cannot have counted by itself.
    Number,
    /// A word with a capital letter where no sentence, heading or quotation begins.
    Name,
    /// Any other word that carries meaning, and numbers up to twelve.
    Word,
    /// `not` and its kin; all have one key.
    Negation,
    /// A word that every text has.
    Stop,
}

/// One word or number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'t> {
    /// As it is written.
    pub(super) text: &'t str,
    /// Equal for `Refunds` and `refunded`, for `1,299.00` and `1299`, for `never` and `not`.
    pub(super) key: u64,
    is_number: bool,
    /// Whether a sentence, heading, list item or quotation begins here.
    is_first: bool,
}

#[rustfmt::skip]
const STOPS: &[&str] = &[
    "a", "an", "the", "of", "in", "on", "at", "to", "for", "and", "or", "but", "is", "are", "was", "were", "be", "been",
    "being", "by", "with", "from", "as", "that", "this", "these", "those", "it", "its", "his", "her", "their", "they",
    "he", "she", "we", "you", "i", "do", "does", "did", "has", "have", "had", "will", "would", "can", "could", "may",
    "might", "should", "than", "then", "there", "which", "who", "whom", "what", "when", "where", "how", "s", "also",
    "into", "about", "over", "under", "between", "both", "more", "most", "such", "your", "our", "my", "me", "us", "please", "am", "pm",
];

/// Longest word that is told apart, in bytes.
const LONGEST: usize = 32;

/// The key of every negation.
pub(super) const NEGATION: u64 = 1;

impl Token<'_> {
    pub(super) fn class(&self) -> Class {
        let is_small = || self.text.parse::<u8>().is_ok_and(|number| number <= 12);
        match self.key {
            NEGATION => Class::Negation,
            _ if self.is_number && !is_small() => Class::Number,
            _ if self.is_stop() => Class::Stop,
            _ if !self.is_first && self.text.starts_with(char::is_uppercase) => Class::Name,
            _ => Class::Word,
        }
    }

    /// `I'll` and `you're` are stop words with an ending.
    fn is_stop(&self) -> bool {
        let word = self.text.split(['\'', '’']).next().unwrap_or_default();
        STOPS.iter().any(|stop| word.eq_ignore_ascii_case(stop))
    }
}

/// Shows every token of a text in order. Nearly all text is ASCII, and is read by bytes.
pub(super) fn each_token<'t>(text: &'t str, mut see: impl FnMut(Token<'t>)) {
    let mut is_first = true;
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        let is_number = byte.is_ascii_digit();
        let (end, key) = match byte {
            b'0'..=b'9' => number(text, at),
            b'a'..=b'z' | b'A'..=b'Z' => Window::at(text, at)
                .and_then(Window::word)
                .map_or_else(|| word(text, at), |(length, key)| (at + length, key)),
            0x80.. if character_at(text, at).is_alphanumeric() => word(text, at),
            _ => {
                let character = if byte.is_ascii() { char::from(*byte) } else { character_at(text, at) };
                is_first |= matches!(character, '.' | '!' | '?' | ':' | '\n' | '*' | '#' | '|' | '"' | '“' | '(');
                at += character.len_utf8();
                continue;
            }
        };
        see(Token { text: &text[at..end], key, is_number, is_first });
        is_first = false;
        at = end;
    }
}

/// Where the number that begins here ends, and its key.
fn number(text: &str, start: usize) -> (usize, u64) {
    let end = number_end(text, start);
    (end, number_key(&text[start..end]))
}

/// Where the word that begins here ends, and its key.
fn word(text: &str, start: usize) -> (usize, u64) {
    let end = word_end(text, start);
    (end, word_key(&text[start..end]))
}

/// The next bytes of a text, the first lowest. Nearly every word that an agent reads is short and plain; it is measured,
/// lowered and cut here without a look at its single bytes.
#[derive(Clone, Copy)]
struct Window(u128);

impl Window {
    const BYTES: usize = size_of::<u128>();
    /// A one in each byte.
    const ONES: u128 = u128::MAX / 0xff;

    fn at(text: &str, start: usize) -> Option<Self> {
        let bytes = text.as_bytes().get(start..)?.first_chunk()?;
        Some(Self(u128::from_le_bytes(*bytes)))
    }

    /// Length and key of the word of ASCII letters that begins here; `None` when it may go on otherwise.
    fn word(self) -> Option<(usize, u64)> {
        let length = self.letters();
        let next = self.0.to_le_bytes().get(length).copied()?;
        if next == b'\'' || !next.is_ascii() {
            return None;
        }
        let lower = Self(self.0 | (Self::ONES * 0x20)).first(length);
        let letters = lower.to_le_bytes();
        let word = &letters[..length];
        let key = if is_negation(word) { NEGATION } else { hash([Self(lower).first(stem(word).len())].into_iter()) };
        Some((length, key))
    }

    /// How many ASCII letters come first.
    fn letters(self) -> usize {
        let lower = (self.0 | (Self::ONES * 0x20)) & (Self::ONES * 0x7f);
        // The highest bit of each sum says whether the byte is at least, or beyond, a letter.
        let at_least_a = lower + Self::ONES * u128::from(0x80 - b'a');
        let beyond_z = lower + Self::ONES * u128::from(0x7f - b'z');
        let others = (!at_least_a | beyond_z | self.0) & (Self::ONES * 0x80);
        others.trailing_zeros() as usize / 8
    }

    /// The first bytes, of which there is at least one, and zeros.
    fn first(self, length: usize) -> u128 {
        self.0 & (u128::MAX >> (8 * (Self::BYTES - length)))
    }
}

fn character_at(text: &str, at: usize) -> char {
    text[at..].chars().next().unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// `1,299.00` is one number, and the full stop after it is none of it.
fn number_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut end = start;
    while is_digit(end) || (matches!(bytes.get(end), Some(b'.' | b',')) && is_digit(end + 1)) {
        end += 1;
    }
    end
}

/// A word ends at a digit, too: `A7` is a letter and a number. Scripts without spaces go character by character.
fn word_end(text: &str, start: usize) -> usize {
    let letters = text.as_bytes()[start..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let mut end = start + letters;
    if text.as_bytes().get(end).is_none_or(|byte| byte.is_ascii() && *byte != b'\'') {
        return end.max(start + 1);
    }
    let mut characters = text[end..].chars().peekable();
    while let Some(character) = characters.next() {
        let is_within = match character {
            'a'..='z' | 'A'..='Z' => true,
            '\'' | '’' => characters.peek().is_some_and(|next| next.is_alphabetic()),
            '\u{3040}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' => end == start,
            other => !other.is_ascii() && other.is_alphanumeric(),
        };
        if !is_within {
            break;
        }
        end += character.len_utf8();
        if matches!(character, '\u{3040}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}') {
            break;
        }
    }
    // What is alphanumeric but no letter by these rules, such as a lone `²`, still has to be passed.
    end.max(start + character_at(text, start).len_utf8())
}

/// Without separators of thousands, leading zeros and a fraction of zeros.
fn number_key(number: &str) -> u64 {
    let (whole, fraction) = number.rsplit_once('.').unwrap_or((number, ""));
    let whole = whole.trim_start_matches('0').bytes().filter(u8::is_ascii_digit);
    let fraction = fraction.trim_end_matches('0');
    let point = (!fraction.is_empty()).then_some(b'.');
    hash(whole.chain(point).chain(fraction.bytes()).map(u128::from))
}

fn word_key(word: &str) -> u64 {
    let mut lower = [0; LONGEST];
    let length = lowercase_into(&mut lower, word);
    let lower = &lower[..length];
    if is_negation(lower) { NEGATION } else { hash(stem(lower).chunks(Window::BYTES).map(number_of_bytes)) }
}

/// The first byte lowest, as in a [`Window`].
fn number_of_bytes(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// Fills the buffer with as much of the word as fits; the number of its bytes.
fn lowercase_into(lower: &mut [u8], word: &str) -> usize {
    let mut length = 0;
    for character in word.chars() {
        let character = if character == '’' { '\'' } else { lowercase(character) };
        let Some(free) = lower.get_mut(length..length + character.len_utf8()) else { break };
        length += character.encode_utf8(free).len();
    }
    length
}

fn is_negation(lower: &[u8]) -> bool {
    matches!(
        lower,
        b"not" | b"no" | b"never" | b"without" | b"none" | b"neither" | b"nor" | b"cannot" | [.., b'n', b'\'', b't']
    )
}

fn lowercase(character: char) -> char {
    if character.is_ascii() {
        character.to_ascii_lowercase()
    } else {
        character.to_lowercase().next().unwrap_or(character)
    }
}

/// English endings that make another form of the same word; crude, and the same for answer and data.
fn stem(word: &[u8]) -> &[u8] {
    match word {
        [stem @ .., b'\'', b's']
        | [stem @ .., b'i', b'n', b'g']
        | [stem @ .., b'e', b'd', b'l', b'y']
        | [stem @ .., b'e', b'd']
        | [stem @ .., b'i', b'e', b's']
        | [stem @ .., b'e', b's']
        | [stem @ .., b'l', b'y']
        | [stem @ .., b's']
            if stem.len() >= 3 =>
        {
            stem
        }
        _ => word,
    }
}

/// Multiplied and turned, part by part: quality enough for words, at the speed that is needed. The two lowest keys are
/// spared for [`NEGATION`].
fn hash(parts: impl Iterator<Item = u128>) -> u64 {
    let mix = |hash: u64, half: u64| (hash.rotate_left(29) ^ half).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    parts.fold(0, |hash, part| mix(mix(hash, part as u64), (part >> 64) as u64)) | 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token<'_>> {
        let mut tokens = Vec::new();
        each_token(text, |token| tokens.push(token));
        tokens
    }

    fn classes(text: &str) -> Vec<(&str, Class)> {
        tokens(text).iter().map(|token| (token.text, token.class())).collect()
    }

    #[test]
    fn a_text_is_split_into_numbers_names_words_negations_and_stop_words() {
        use Class::{Name, Negation, Number, Stop, Word};
        assert_eq!(
            classes("Order A7 of Ada wasn't 1,299.50 EUR."),
            [
                ("Order", Word),
                ("A", Stop),
                ("7", Word),
                ("of", Stop),
                ("Ada", Name),
                ("wasn't", Negation),
                ("1,299.50", Number),
                ("EUR", Name)
            ]
        );
    }

    #[test]
    fn what_begins_a_sentence_a_heading_or_a_list_item_is_no_name() {
        let names = |text| classes(text).into_iter().filter(|(_, class)| *class == Class::Name).count();
        assert_eq!(names("Lamps. Lamps! **Lamps** and: Lamps\nLamps \"Lamps\""), 0);
        assert_eq!(names("the Lamps, Lamps; Lamps"), 3);
        assert_eq!(names("so I'll, as I’m sure"), 0);
    }

    #[test]
    fn forms_of_one_word_or_number_have_one_key() {
        let key = |text: &str| tokens(text)[0].key;
        for (one, other) in [
            ("Refunds", "refunded"),
            ("Ada's", "ADA"),
            ("never", "didn’t"),
            ("1,299.00", "1299"),
            ("007", "7"),
            ("59.80", "59.8"),
            ("Émile", "émile"),
        ] {
            assert_eq!(key(one), key(other), "{one} {other}");
        }
        for (one, other) in [("59.8", "598"), ("0.5", "5"), ("refund", "refuse"), ("not", "note")] {
            assert_ne!(key(one), key(other), "{one} {other}");
        }
    }

    #[test]
    fn a_word_has_one_key_wherever_it_stands_and_whatever_follows_it() {
        let first = |text: &str| tokens(text).first().map(|token| (token.text.len(), token.key));
        for word in ["A", "not", "Refunds", "Customers", "fifteenletterss", "sixteenlettersss", "seventeenlettersx"] {
            let alone = first(word);
            assert_eq!(alone.map(|(length, _)| length), Some(word.len()));
            for rest in
                [".", " and the rest of a sentence", "@with.a.domain.of.its.own", "[0]{1} and so forth ", "7 up"]
            {
                assert_eq!(first(&format!("{word}{rest}")), alone, "{word}{rest}");
            }
        }
    }

    #[test]
    fn a_date_in_a_record_holds_the_numbers_of_a_date_in_words() {
        let keys = |text| tokens(text).iter().map(|token| token.key).collect::<Vec<_>>();
        let record = keys("2026-03-01T10:30:00Z");
        assert!(keys("1").iter().chain(&keys("2026")).all(|key| record.contains(key)));
    }

    #[test]
    fn every_text_is_read_to_its_end() {
        for (text, expected) in
            [("½ ² x²y", 3), ("注文は", 3), ("don' t'", 2), ("1.2.3. 4,", 2), ("'", 0), ("e\u{301}a", 2)]
        {
            assert_eq!(tokens(text).len(), expected, "{text}: {:?}", classes(text));
        }
    }
}
