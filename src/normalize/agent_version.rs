//! Which version of an agent ran, found from what makes it one: its system prompt, its tools and its model.
//!
//! Prompts carry today's date, the user's name or an order number, and none of these is a new version. So a prompt is
//! reduced to its skeleton first: numbers and ids, dates and times, and words written like names are masked, as is
//! everything after a label such as `Customer name:`; of equal lines in a row one stays, so that lists may grow. The
//! price is that an edit of nothing but numbers or names goes unseen.

use ring::digest::{SHA256, digest};

use super::model_calls::Exchange;
use super::tree::Tree;

/// Hexadecimal digits of a version.
const DIGITS: usize = 12;

const MASK: &str = "#";

/// Labels whose value belongs to one run.
const RUN_LABELS: [&str; 28] = [
    "account",
    "address",
    "birthday",
    "client",
    "company",
    "context",
    "conversation",
    "customer",
    "date",
    "datetime",
    "day",
    "email",
    "id",
    "language",
    "locale",
    "location",
    "member",
    "name",
    "now",
    "phone",
    "session",
    "tenant",
    "time",
    "timezone",
    "today",
    "user",
    "username",
    "year",
];

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

fn push_masked(text: &mut String, line: &str) {
    let (words, has_value) = match line.split_once(':') {
        Some((label, _)) if is_run_label(label) => (label, true),
        _ => (line, false),
    };
    let (mut starts_sentence, mut masked) = (true, false);
    for word in words.split_whitespace() {
        let bare = word.trim_matches(|letter: char| !letter.is_alphanumeric());
        let mask = is_of_one_run(word, bare, starts_sentence) || (masked && matches!(bare, "am" | "pm"));
        if !(mask && masked) {
            text.push_str(if mask { MASK } else { word });
            text.push(' ');
        }
        masked = mask;
        // A bullet starts no sentence, nor ends one.
        starts_sentence &= bare.is_empty();
        starts_sentence |= word.ends_with(['.', '!', '?', ':']);
    }
    if has_value {
        text.push_str(MASK);
    }
}

/// At most four words of which one says that the rest of the line belongs to one run.
fn is_run_label(label: &str) -> bool {
    let mut words = label.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    let named = words.clone().any(|word| RUN_LABELS.iter().any(|label| label.eq_ignore_ascii_case(word)));
    named && words.nth(4).is_none()
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
    fn bullets_commands_and_the_first_word_of_a_sentence_are_no_names() {
        assert_eq!(skeleton("- Read the file. Then ask Bob"), "- Read the file. Then ask # \n");
        assert_eq!(skeleton("you must NEVER call the API"), "you must NEVER call the API \n");
    }
}
