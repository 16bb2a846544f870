//! What of an answer is found in the data: one pass over the answer, one over the data, whatever their sizes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::initials::Initials;
use super::tokens::{Class, NEGATION, NEGATIONS, Token, each_sought, each_token};

/// Tokens within which two words of the data stand together.
const TOGETHER: usize = 8;
/// Tokens within which a negation of the data denies a word.
const DENIED: usize = 6;
/// Tokens after a negation of the answer among which is what it denies.
const DENIES: usize = 4;

/// What was not found in the data.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Support<'a> {
    /// Numbers and names of the answer that neither the data nor the user's words hold, each once.
    pub(super) unsupported: Vec<&'a str>,
    /// Negations of the answer that deny what the data does not deny.
    pub(super) denials: usize,
    /// Neighbouring words of the answer.
    pub(super) pairs: usize,
    /// Those of them that do not stand together in the data.
    pub(super) apart: usize,
}

impl Support<'_> {
    /// How much speaks against the answer: 1 for a number or name, a half for a negation, up to a half for its words.
    pub(super) fn points(&self) -> f64 {
        self.unsupported.len() as f64 + 0.5 * (self.denials as f64 + self.apart as f64 / (self.pairs as f64 + 1.0))
    }
}

/// Keys are hashes already.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        // A second word of a pair comes on top of the first; the odd factor spreads both over all bits.
        self.0 = (self.0.rotate_left(29) ^ key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

type Keyed<T> = HashMap<u64, T, BuildHasherDefault<KeyHasher>>;
type KeySet<T> = HashSet<T, BuildHasherDefault<KeyHasher>>;

/// One distinct word, name or number of the answer.
#[derive(Debug)]
struct Term<'a> {
    text: &'a str,
    /// Whether it stands somewhere as a number or a name.
    is_fact: bool,
    in_data: bool,
    /// Whether a negation of the answer may deny it, and none of the data was found to.
    is_to_deny: bool,
    /// How many of its neighbours are still to be found beside it.
    apart: usize,
    /// The [`bit`] of each of its neighbours.
    neighbours: u64,
}

/// The answer, and what of it has been found so far.
struct Answer<'a> {
    terms: Keyed<Term<'a>>,
    /// Neighbours that are still to be found together, the smaller key first.
    apart: KeySet<(u64, u64)>,
    pairs: usize,
    /// For each negation, what it may deny.
    denials: Vec<Vec<u64>>,
}

/// Compares an answer with the data that it should rest on. `words` are texts in which numbers and names may stand
/// without being data: the user's and the instructions'. `None` when the answer holds no word that carries meaning.
pub(super) fn support<'a>(answer: &'a str, data: &[&str], words: impl Iterator<Item = &'a str>) -> Option<Support<'a>> {
    let length = answer.len();
    let mut answer = Answer::read(answer)?;
    let mut sought = answer.sought();
    for text in data {
        // What is found needs no second look; to see what is left must not cost more than to read the text.
        if text.len() > length {
            sought = answer.sought();
        }
        answer.find_in(text, &sought);
    }
    let mut missing = answer.facts_not_in_data();
    let sought = Initials::of(missing.values().copied());
    for text in words {
        if missing.is_empty() {
            break;
        }
        each_sought(text, &sought, |token| {
            missing.remove(&token.key);
        });
    }
    let mut unsupported: Vec<&str> = missing.into_values().collect();
    unsupported.sort_unstable_by_key(|text| text.as_ptr());
    Some(Support {
        unsupported,
        denials: answer.denials.iter().filter(|denied| !answer.is_denied(denied)).count(),
        pairs: answer.pairs,
        apart: answer.apart.len(),
    })
}

impl<'a> Answer<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut answer = Self { terms: Keyed::default(), apart: KeySet::default(), pairs: 0, denials: Vec::new() };
        let mut previous = None;
        let mut open_denials: VecDeque<(usize, usize)> = VecDeque::new();
        each_token(text, |token| {
            let position = token.position;
            match token.class() {
                Class::Stop => {}
                Class::Negation => {
                    open_denials.push_back((position, answer.denials.len()));
                    answer.denials.push(Vec::new());
                }
                class => {
                    open_denials.retain(|(at, _)| position - at <= DENIES);
                    for (_, denial) in &open_denials {
                        answer.denials[*denial].push(token.key);
                    }
                    answer.add(&token, class, previous.replace(token.key));
                }
            }
        });
        for key in answer.denials.iter().flatten() {
            answer.terms.entry(*key).and_modify(|term| term.is_to_deny = true);
        }
        answer.pairs = answer.apart.len();
        for (key, neighbour) in answer.apart.iter().flat_map(|(left, right)| [(left, right), (right, left)]) {
            if let Some(term) = answer.terms.get_mut(key) {
                term.apart += 1;
                term.neighbours |= bit(*neighbour);
            }
        }
        (!answer.terms.is_empty()).then_some(answer)
    }

    /// A word alone is its own neighbour, so that an answer of one word has one pair.
    fn add(&mut self, token: &Token<'a>, class: Class, previous: Option<u64>) {
        let is_fact = matches!(class, Class::Number | Class::Name);
        let term = self.terms.entry(token.key);
        term.or_insert(Term {
            text: token.text,
            is_fact: false,
            in_data: false,
            is_to_deny: false,
            apart: 0,
            neighbours: 0,
        })
        .is_fact |= is_fact;
        match previous {
            Some(previous) => {
                self.apart.remove(&(previous, previous));
                self.apart.insert(in_order(previous, token.key));
            }
            None => drop(self.apart.insert((token.key, token.key))),
        }
    }

    /// How those words begin of which there is still something to be found.
    fn sought(&self) -> Initials {
        let open = self.terms.values().filter(|term| term.apart > 0 || term.is_to_deny).map(|term| term.text);
        Initials::of(open.chain(NEGATIONS))
    }

    fn find_in(&mut self, data: &str, sought: &Initials) {
        let mut recent: VecDeque<(usize, u64)> = VecDeque::with_capacity(TOGETHER + 1);
        let mut last_negation = None;
        each_sought(data, sought, |token| {
            let position = token.position;
            if token.key == NEGATION {
                last_negation = Some(position);
                for (at, key) in &recent {
                    self.deny(*key, position - at);
                }
                return;
            }
            let Some(term) = self.terms.get_mut(&token.key) else { return };
            term.in_data = true;
            term.is_to_deny &= last_negation.is_none_or(|at| position - at > DENIED);
            if term.apart == 0 && !term.is_to_deny {
                return;
            }
            while recent.front().is_some_and(|(at, _)| position - at > TOGETHER) {
                recent.pop_front();
            }
            recent.push_back((position, token.key));
            if term.apart > 0 {
                let neighbours = term.neighbours;
                let near = recent.iter().filter(|(_, key)| neighbours & bit(*key) != 0);
                near.for_each(|(_, key)| self.bring_together(*key, token.key));
            }
        });
    }

    fn bring_together(&mut self, left: u64, right: u64) {
        if self.apart.remove(&in_order(left, right)) {
            for key in [left, right] {
                self.terms.entry(key).and_modify(|term| term.apart -= 1);
            }
        }
    }

    fn deny(&mut self, key: u64, distance: usize) {
        if distance <= DENIED
            && let Some(term) = self.terms.get_mut(&key)
        {
            term.is_to_deny = false;
        }
    }

    /// Whether the data denies one of the words; a negation before nothing denies nothing.
    fn is_denied(&self, keys: &[u64]) -> bool {
        keys.is_empty() || keys.iter().any(|key| self.terms.get(key).is_some_and(|term| !term.is_to_deny))
    }

    fn facts_not_in_data(&self) -> Keyed<&'a str> {
        let missing = self.terms.iter().filter(|(_, term)| term.is_fact && !term.in_data);
        missing.map(|(key, term)| (*key, term.text)).collect()
    }
}

fn in_order(left: u64, right: u64) -> (u64, u64) {
    (left.min(right), left.max(right))
}

/// One of 64 bits for a key: that two keys differ mostly shows without a look into a set.
fn bit(key: u64) -> u64 {
    1 << (key >> 58)
}
