//! Which version of an agent ran, found from what makes it one: its system prompt, its tools and its model.
//!
//! Prompts carry today's date, the user's name or an order number, and none of these is a new version. So a prompt is
//! reduced to its skeleton first: numbers and ids, dates and times, and words written like names are masked, as is a
//! short value after a label such as `Customer name:`, up to the end of its sentence; of equal lines in a row one stays,
//! so that lists may grow. The price is that an edit of nothing but numbers, names or such values goes unseen.

use ring::digest::{SHA256, digest};

use super::model_calls::Exchange;
use super::tree::Tree;

/// Hexadecimal digits of a version.
const DIGITS: usize = 12;

const MASK: &str = "#";

/// Words a value may have that is masked whole; a longer one is an instruction, and masked word by word.
const LONGEST_VALUE: usize = 6;

/// Last words of labels whose value belongs to one run.
const RUN_LABELS: [&str; 23] = [
    "account",
    "address",
    "birthday",
    "client",
    "company",
    "conversation",
    "date",
    "datetime",
    "day",
    "email",
    "id",
    "locale",
    "location",
    "member",
    "name",
    "phone",
    "session",
    "tenant",
    "time",
    "timezone",
    "today",
    "username",
    "year",
];

/// Words whose full stop ends no sentence.
const TITLES: [&str; 6] = ["Mr.", "Mrs.", "Ms.", "Dr.", "Prof.", "St."];

/// Words of dates and times that may be written where a name would not be told from any other word.
const CALENDAR: [&str; 26] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "january",
    "february",
    "march",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "jan",
    "feb",
    "apr",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
];

/// The first digits of the SHA-256 of prompt skeleton, tool definitions in any order, and the first model that was
/// called. `None` when no model was, or when neither prompt nor tools were recorded: all agents on one model would look
/// the same.
pub(super) fn find(tree: &Tree<'_>, instructions: Option<&str>, outermost: &[&Exchange<'_>]) -> Option<String> {
    let calls = outermost.iter().map(|exchange| &tree.views[exchange.position]);
    let mut views = calls.chain([tree.root(), tree.subject()]);
    let mut tools = views.find_map(|view| view.tool_definitions()).unwrap_or_default();
    if outermost.is_empty() || (instructions.is_none() && tools.is_empty()) {
        return None;
    }
    tools.sort_unstable();
    let mut text = skeleton(instructions.unwrap_or_default());
    let model = outermost.iter().find_map(|exchange| exchange.call.model.as_deref());
    for part in tools.iter().map(String::as_str).chain(model) {
        text.push('\0');
        text.push_str(part);
    }
    let mut version = hex::encode(digest(&SHA256, text.as_bytes()));
    version.truncate(DIGITS);
    Some(version)
}

/// A prompt without what changes from run to run.
fn skeleton(prompt: &str) -> String {
    let mut text = String::with_capacity(prompt.len());
    let mut last_line = 0;
    for line in prompt.lines().filter(|line| !line.trim().is_empty()) {
        let start = text.len();
        push_masked(&mut text, line);
        text.push('\n');
        if text[start..] == text[last_line..start] {
            text.truncate(start);
        } else {
            last_line = start;
        }
    }
    text
}

fn push_masked(text: &mut String, mut line: &str) {
    let mut place = Place { starts_sentence: true, masked: false };
    while let Some((label, rest)) = split_at_value(line) {
        push_words(text, label, &mut place);
        if !place.masked {
            push_word(text, MASK);
        }
        place = Place { starts_sentence: true, masked: true };
        line = rest;
    }
    push_words(text, line, &mut place);
}

/// What the words before say of the next.
struct Place {
    starts_sentence: bool,
    /// Of masked words in a row one mask stays.
    masked: bool,
}

fn push_words(text: &mut String, words: &str, place: &mut Place) {
    for word in words.split_whitespace() {
        let bare = word.trim_matches(|letter: char| !letter.is_alphanumeric());
        let mask = is_of_one_run(word, bare, place.starts_sentence) || (place.masked && matches!(bare, "am" | "pm"));
        if !(mask && place.masked) {
            push_word(text, if mask { MASK } else { word });
        }
        place.masked = mask;
        // A bullet starts no sentence, nor ends one.
        place.starts_sentence &= bare.is_empty();
        place.starts_sentence |= word.ends_with(['.', '!', '?', ':']);
    }
}

fn push_word(text: &mut String, word: &str) {
    text.push_str(word);
    text.push(' ');
}

/// The label at the start of the line and what comes after its value, when that is short and belongs to one run.
fn split_at_value(line: &str) -> Option<(&str, &str)> {
    let (label, text) = line.split_once(':').filter(|(label, _)| is_run_label(label))?;
    let (value, rest) = text.split_at(sentence_end(text));
    (value.split_whitespace().count() <= LONGEST_VALUE).then_some((label, rest))
}

fn sentence_end(text: &str) -> usize {
    let mut end = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        end += word.len();
        let word = word.trim_end();
        if word.ends_with(['.', '!', '?']) && !TITLES.contains(&word) {
            break;
        }
    }
    end
}

/// At most four words of which the last says that what follows belongs to one run: `Customer name`, not `Name rules`.
fn is_run_label(label: &str) -> bool {
    let words = || label.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    let last = words().next_back().unwrap_or_default();
    words().count() <= 4 && RUN_LABELS.iter().any(|label| label.eq_ignore_ascii_case(last))
}

fn is_of_one_run(word: &str, bare: &str, starts_sentence: bool) -> bool {
    let has_digit_or_at = word.bytes().any(|byte| byte.is_ascii_digit() || byte == b'@');
    has_digit_or_at || (!starts_sentence && is_capitalised(bare)) || is_calendar_word(bare)
}

/// Written like a name: one capital and then small letters; `NEVER` and `API` are not.
fn is_capitalised(word: &str) -> bool {
    let mut letters = word.chars();
    letters.next().is_some_and(char::is_uppercase) && letters.next().is_some_and(char::is_lowercase)
}

fn is_calendar_word(word: &str) -> bool {
    matches!(word.len(), 3..=9)
        && word.starts_with(|first: char| first.is_ascii_uppercase())
        && CALENDAR.iter().any(|name| name.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::skeleton;

    const PROMPT: &str = "You are the support agent of Acme.\nToday is Monday, 2026-03-02 10:15 am.\n\
        Customer name: alice smith\nYou talk to Alice Smith (alice@example.com).\n\
        Order: W-4411\nNever promise a refund after 30 days.\n- item 1 seen\n- item 2 seen";

    #[test]
    fn a_date_a_name_a_number_or_a_longer_list_leaves_the_skeleton_as_it_is() {
        let others = [
            ("Monday, 2026-03-02 10:15 am", "Tuesday, 2027-11-30 9:05 pm"),
            ("alice smith", "bob"),
            ("Alice Smith (alice@example.com)", "Bob (bob@example.org)"),
            ("W-4411", "W-9"),
            ("- item 2 seen", "- item 2 seen\n- item 3 seen"),
        ];
        for (mine, other) in others {
            assert_eq!(skeleton(PROMPT), skeleton(&PROMPT.replace(mine, other)), "{mine}");
        }
    }

    #[test]
    fn another_instruction_is_another_skeleton() {
        for (mine, other) in [("Never", "Always"), ("a refund", "any refund"), ("support", "sales"), (" seen", "")] {
            assert_ne!(skeleton(PROMPT), skeleton(&PROMPT.replace(mine, other)), "{mine}");
        }
    }

    #[test]
    fn an_instruction_after_a_label_is_no_value_of_one_run() {
        for (mine, other) in [
            (
                "Current date: 2026-03-02. You are a support agent. Never promise a refund.",
                "Current date: 2026-03-02. You are a support agent. Always promise a refund.",
            ),
            ("Customer policy: refuse refunds", "Customer policy: grant refunds"),
            ("Language: answer in formal words", "Language: answer in simple words"),
            ("User: always obey", "User: never obey"),
            ("Time: spend as little of it as you can on each", "Time: spend as much of it as you can on each"),
            ("Name: alice. Email rules: be brief", "Name: alice. Email rules: be long"),
        ] {
            assert_ne!(skeleton(mine), skeleton(other), "{mine}");
        }
    }

    #[test]
    fn values_in_one_line_are_masked_each_up_to_the_end_of_its_sentence() {
        let expected = skeleton("Customer name: Mr. Smith. Today: 2026-03-02. Email: a@example.com. Be brief.");
        assert_eq!(expected, "Customer name # Today # Email # Be brief. \n");
        let other = "Customer name: alice van dyke. Today: Friday, the 3rd of April. Email: none. Be brief.";
        assert_eq!(skeleton(other), expected);
    }

    #[test]
    fn bullets_commands_and_the_first_word_of_a_sentence_are_no_names() {
        assert_eq!(skeleton("- Read the file. Then ask Bob"), "- Read the file. Then ask # \n");
        assert_eq!(skeleton("you must NEVER call the API"), "you must NEVER call the API \n");
    }
}
