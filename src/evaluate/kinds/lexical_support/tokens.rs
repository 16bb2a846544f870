//! Words and numbers of a text, each with a key that is the same for forms of the same word or number.

use super::initials::Initials;

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
    /// Which of the text's tokens it is, from zero.
    pub(super) position: usize,
    is_number: bool,
    /// Whether a sentence, heading, list item or quotation begins here.
    is_first: bool,
}

/// By their lengths.
#[rustfmt::skip]
const STOPS: [&[&str]; 8] = [
    &[],
    &["a", "i", "s"],
    &["an", "of", "in", "on", "at", "to", "or", "is", "be", "by", "as", "it", "he", "we", "do", "my", "me", "us",
      "am", "pm"],
    &["the", "for", "and", "but", "are", "was", "its", "his", "her", "she", "you", "did", "has", "had", "can",
      "may", "who", "how", "our"],
    &["were", "been", "with", "from", "that", "this", "they", "does", "have", "will", "than", "then", "whom",
      "what", "when", "also", "into", "over", "both", "more", "most", "such", "your"],
    &["being", "these", "those", "their", "would", "could", "might", "there", "which", "where", "about", "under"],
    &["should", "please"],
    &["between"],
];

/// Longest word that is told apart, in bytes.
const LONGEST: usize = 32;

pub(super) const NEGATIONS: [&str; 8] = ["not", "no", "never", "without", "none", "neither", "nor", "cannot"];

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
        STOPS.get(word.len()).is_some_and(|stops| stops.iter().any(|stop| word.eq_ignore_ascii_case(stop)))
    }
}

/// Shows every token of a text in order.
pub(super) fn each_token<'t>(text: &'t str, see: impl FnMut(Token<'t>)) {
    each_sought(text, &Initials::ALL, see);
}

/// Shows the tokens of a text in order, but for plain words that begin as none that is sought. Nearly all text is ASCII,
/// and is read by bytes.
pub(super) fn each_sought<'t>(text: &'t str, sought: &Initials, mut see: impl FnMut(Token<'t>)) {
    let (mut is_first, mut position) = (true, 0);
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        let is_number = byte.is_ascii_digit();
        let found = match byte {
            b'0'..=b'9' => Some(number(text, at)),
            b'a'..=b'z' | b'A'..=b'Z' => match PlainWord::at(text, at) {
                Some(word) if !sought.has(word.first_three()) => {
                    at += word.length;
                    None
                }
                Some(word) => Some((at + word.length, word.key())),
                None => Some(word(text, at)),
            },
            ..0x80 => {
                is_first |= matches!(byte, b'.' | b'!' | b'?' | b':' | b'\n' | b'*' | b'#' | b'|' | b'"' | b'(');
                at += 1;
                continue;
            }
            0x80.. => match character_at(text, at) {
                character if character.is_alphanumeric() => Some(word(text, at)),
                character => {
                    is_first |= character == '“';
                    at += character.len_utf8();
                    continue;
                }
            },
        };
        if let Some((end, key)) = found {
            see(Token { text: &text[at..end], key, position, is_number, is_first });
            at = end;
        }
        position += 1;
        is_first = false;
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

    /// How many ASCII letters come first; few words need more than the lower half.
    fn letters(self) -> usize {
        match letters(self.0 as u64) {
            8 => 8 + letters((self.0 >> 64) as u64),
            few => few,
        }
    }

    /// The first bytes, of which there is at least one, and zeros.
    fn first(self, length: usize) -> u128 {
        self.0 & (u128::MAX >> (8 * (Self::BYTES - length)))
    }
}

/// A short word of ASCII letters.
struct PlainWord {
    window: Window,
    length: usize,
}

impl PlainWord {
    /// The word that begins here; `None` when it may go on otherwise.
    fn at(text: &str, start: usize) -> Option<Self> {
        let window = Window::at(text, start)?;
        let length = window.letters();
        let next = *text.as_bytes().get(start + length)?;
        let is_whole = length < Window::BYTES && next != b'\'' && next.is_ascii();
        is_whole.then_some(Self { window, length })
    }

    /// In lower case, the first lowest; zeros for what it lacks.
    fn first_three(&self) -> u32 {
        let missing = 3_usize.saturating_sub(self.length);
        (self.window.0 as u32 | 0x0020_2020) & (0x00ff_ffff >> (8 * missing))
    }

    fn key(&self) -> u64 {
        let lower = Window(self.window.0 | (Window::ONES * 0x20));
        let letters = lower.0.to_le_bytes();
        let word = &letters[..self.length];
        if is_negation(word) { NEGATION } else { hash([lower.first(stem(word).len())].into_iter()) }
    }
}

/// How many of eight bytes, the first lowest, are ASCII letters before the first that is none.
fn letters(bytes: u64) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    let upper = bytes & (ONES * 0x5f);
    // The highest bit of each sum says whether the byte is at least, or beyond, a letter.
    let at_least_a = upper + ONES * u64::from(0x80 - b'A');
    let beyond_z = upper + ONES * u64::from(0x7f - b'Z');
    let letters = (at_least_a ^ beyond_z) & !bytes & (ONES * 0x80);
    (letters ^ (ONES * 0x80)).trailing_zeros() as usize / 8
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
    let point = number.bytes().rposition(|byte| byte == b'.').unwrap_or(number.len());
    let (whole, fraction) = (&number[..point], number.get(point + 1..).unwrap_or_default());
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
pub(super) fn number_of_bytes(bytes: &[u8]) -> u128 {
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

pub(super) fn lowercase(character: char) -> char {
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
    fn no_form_of_a_word_that_is_sought_is_passed_over_and_no_place_is_lost() {
        let mut rng = fastrand::Rng::with_seed(7);
        let words = "a Ab abs abing \u{212a}elvin kelvin's Kelvins Émile ed Refunds refunded not didn’t 59.80 warehouses \
                     straightforwardly straightforward refuse o'clock";
        let words: Vec<&str> = words.split_whitespace().collect();
        let ends = [" ", ", ", ". ", "", "-", "é ", "' ", "{", "\u{301}"];
        let (mut all, mut shown_again) = (0, 0);
        for _ in 0..2_000 {
            let text: String =
                (0..12).flat_map(|_| [words[rng.usize(..words.len())], ends[rng.usize(..ends.len())]]).collect();
            let shown = tokens(&text);
            let sought = shown[rng.usize(..shown.len())];
            let (mut at, is_sought) = (Vec::new(), |token: &Token<'_>| token.key == sought.key);
            each_sought(&text, &Initials::of([sought.text].into_iter().chain(NEGATIONS)), |token| {
                at.extend(is_sought(&token).then_some((token.position, token.text)));
                shown_again += 1;
            });
            all += shown.len();
            let expected = shown.iter().filter(|token| is_sought(token));
            assert_eq!(
                at,
                expected.map(|token| (token.position, token.text)).collect::<Vec<_>>(),
                "{} in {text}",
                sought.text
            );
        }
        assert!(shown_again + 2_000 < all, "{shown_again} of {all}");
    }

    #[test]
    fn every_negation_is_one() {
        assert!(NEGATIONS.iter().all(|word| tokens(word)[0].class() == Class::Negation));
    }

    #[test]
    fn stop_words_are_known_by_their_lengths() {
        for (length, stops) in STOPS.iter().enumerate() {
            assert!(
                stops.iter().all(|stop| stop.len() == length && tokens(stop)[0].class() == Class::Stop),
                "{stops:?}"
            );
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
