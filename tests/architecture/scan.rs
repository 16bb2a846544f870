//! Reads the imports of a Rust source: enough of the language to know code from text, and no more.

/// A path that code names, written out from its root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Import {
    /// `crate`, then the modules; or a crate's name, then its modules.
    pub(crate) path: Vec<String>,
    /// Where, counted from 1.
    pub(crate) line: usize,
}

/// The paths that the code of one file names, in order. `super` is resolved by the file's path below `src`; code under
/// `#[cfg(test)]` is left out.
pub(crate) fn imports(path: &str, text: &str) -> Vec<Import> {
    let tokens = without_tests(tokens(text));
    let mut found = Vec::new();
    let mut next = 0;
    while next < tokens.len() {
        next = if starts_path(&tokens, next) { tree(&tokens, next, &[], &mut found) } else { next + 1 };
    }
    let here = module_path(path);
    found.into_iter().map(|import| Import { path: from_root(import.path, &here), ..import }).collect()
}

/// The texts between quotes in the code of one file, in order, each with its line; code under `#[cfg(test)]` is left out.
pub(crate) fn texts(text: &str) -> Vec<(String, usize)> {
    let unquoted = |token: Token| Some((token.text.strip_prefix('"')?.strip_suffix('"')?.to_owned(), token.line));
    without_tests(tokens(text)).into_iter().filter_map(unquoted).collect()
}

/// The modules that a file declares under `#[cfg(test)]`, as paths below `src` without ending.
pub(crate) fn test_modules(path: &str, text: &str) -> Vec<String> {
    let all = tokens(text);
    let words: Vec<&str> = all.iter().map(|token| token.text.as_str()).collect();
    let declaration = |window: &[&str]| window.starts_with(&TEST_ATTRIBUTE) && window[7] == "mod" && window[9] == ";";
    let names = words.windows(10).filter(|window| declaration(window)).map(|window| window[8]);
    names.map(|name| format!("{}/{name}", module_path(path).join("/"))).collect()
}

const TEST_ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

/// `watch/gate.rs` is the module `watch::gate`, `watch/mod.rs` is `watch`.
fn module_path(path: &str) -> Vec<String> {
    let stem = path.trim_end_matches(".rs").trim_end_matches("/mod");
    stem.split('/').filter(|part| !["lib", "main"].contains(part)).map(str::to_owned).collect()
}

/// Writes a path that starts with `super`, `self` or this crate's name out from `crate`.
fn from_root(path: Vec<String>, here: &[String]) -> Vec<String> {
    let above = path.iter().take_while(|part| *part == "super").count();
    let mut root = vec!["crate".to_owned()];
    match path[0].as_str() {
        "driftline" => root.extend_from_slice(&path[1..]),
        "self" => root.extend(here.iter().chain(&path[1..]).cloned()),
        "super" => root.extend(here[..here.len().saturating_sub(above)].iter().chain(&path[above..]).cloned()),
        _ => return path,
    }
    root
}

#[derive(Debug)]
struct Token {
    text: String,
    line: usize,
}

/// A path starts at a name that continues with `::` or follows `use`, unless it belongs to the value or type before it.
fn starts_path(tokens: &[Token], at: usize) -> bool {
    let text = |index: Option<usize>| index.and_then(|index| tokens.get(index)).map_or("", |token| token.text.as_str());
    let before = [at.checked_sub(2), at.checked_sub(1)].map(text);
    let is_used = before[1] == "use" || before == ["use", "::"];
    let is_member = before[1] == "." || before == [">", "::"];
    is_name(text(Some(at))) && !is_member && (is_used || text(Some(at + 1)) == "::") && text(Some(at)) != "use"
}

/// Reads a path or a tree of them (`a::{b, c::d}`), and returns where it ends.
fn tree(tokens: &[Token], start: usize, prefix: &[String], found: &mut Vec<Import>) -> usize {
    let mut path = prefix.to_vec();
    let mut next = start;
    while let Some(token) = tokens.get(next) {
        match token.text.as_str() {
            "{" if path.len() > prefix.len() || next == start => return branches(tokens, next + 1, &path, found),
            "::" => next += 1,
            name if is_name(name) || name == "*" => {
                path.push(name.to_owned());
                next += 1;
                if tokens.get(next).is_none_or(|token| token.text != "::") {
                    break;
                }
            }
            _ => break,
        }
    }
    if path.len() > prefix.len() {
        found.push(Import { path, line: tokens[start].line });
    }
    next.max(start + 1)
}

fn branches(tokens: &[Token], start: usize, prefix: &[String], found: &mut Vec<Import>) -> usize {
    let mut next = start;
    while let Some(token) = tokens.get(next) {
        next = match token.text.as_str() {
            "}" => return next + 1,
            "," => next + 1,
            "as" => next + 2,
            _ => tree(tokens, next, prefix, found),
        };
    }
    next
}

/// Leaves out every item under `#[cfg(test)]`: up to its closing brace, or to a semicolon before any brace.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept: Vec<Token> = Vec::new();
    let mut depth = None;
    for token in tokens {
        depth = match (depth, token.text.as_str()) {
            (Some(0), ";") | (Some(1), "}") => None,
            (Some(open), "{") => Some(open + 1),
            (Some(open), "}") => Some(open - 1),
            (None, _) => {
                kept.push(token);
                let is_test =
                    kept.iter().rev().zip(TEST_ATTRIBUTE.iter().rev()).all(|(token, part)| token.text == *part);
                (is_test && kept.len() >= TEST_ATTRIBUTE.len()).then_some(0)
            }
            (inside, _) => inside,
        };
    }
    kept
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::`, texts between quotes and single signs; comments and other literals are left out.
fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest).unwrap_or(0);
        let taken = if length > 0 { length } else { token_length(rest, first) };
        let (token, after) = rest.split_at(taken);
        if (length == 0 && !first.is_whitespace()) || first == '"' {
            found.push(Token { text: token.to_owned(), line });
        }
        line += token.matches('\n').count();
        rest = after;
    }
    found
}

fn token_length(rest: &str, first: char) -> usize {
    let is_part = |part: char| part.is_alphanumeric() || part == '_';
    if rest.starts_with("::") {
        2
    } else if is_part(first) {
        rest.find(|part| !is_part(part)).unwrap_or(rest.len())
    } else {
        first.len_utf8()
    }
}

/// The length of the comment or literal that `rest` starts with.
fn skipped(rest: &str) -> Option<usize> {
    let end_of = |found: Option<usize>, size: usize| Some(found.map_or(rest.len(), |at| at + size));
    if rest.starts_with("//") {
        return end_of(rest.find('\n'), 0);
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    let literal = rest.trim_start_matches(['b', 'c']);
    let mark = rest.len() - literal.len();
    let hashes = literal.strip_prefix('r').map(|raw| raw.len() - raw.trim_start_matches('#').len());
    if let Some(hashes) = hashes.filter(|hashes| mark <= 1 && literal[1 + hashes..].starts_with('"')) {
        let (open, close) = (mark + hashes + 2, format!("\"{}", "#".repeat(hashes)));
        return end_of(rest[open..].find(&close).map(|at| at + open), close.len());
    }
    match literal.as_bytes() {
        [b'"', ..] if mark <= 1 => Some(mark + quoted(literal, '"')),
        [b'\'', b'\\', ..] if mark <= 1 => Some(mark + quoted(literal, '\'')),
        [b'\'', ..] if literal.chars().nth(2) == Some('\'') => Some(mark + literal.char_indices().nth(2)?.0 + 1),
        _ => None,
    }
}

/// The length of a literal up to its closing quote, past escaped ones.
fn quoted(literal: &str, quote: char) -> usize {
    let mut escaped = true;
    for (at, sign) in literal.char_indices() {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            sign if sign == quote => return at + 1,
            _ => {}
        }
    }
    literal.len()
}

/// The length of a block comment and those within it.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let bytes = rest.as_bytes();
    let mut at = 0;
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" if depth == 1 => return at + 2,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str, text: &str) -> Vec<String> {
        imports(path, text).iter().map(|import| import.path.join("::")).collect()
    }

    #[test]
    fn a_tree_of_imports_is_written_out() {
        let text = "pub use crate::{a::{self, b as c}, d::*}; use ::std::fs; use serde;";
        let expected = ["crate::a::self", "crate::a::b", "crate::d::*", "std::fs", "serde"];
        assert_eq!(named("x/mod.rs", text), expected);
    }

    #[test]
    fn comments_texts_and_characters_hold_no_imports() {
        let text = r##"
            // use crate::a;
            /* crate::b /* crate::c */ crate::d */
            let x = "crate::e \" crate::f"; let y = r#"" crate::g "#; let z = b"crate::h";
            let quote = '"'; let escaped = '\''; fn f<'a>(x: &'a str) { crate::seen::here(x) }
        "##;
        assert_eq!(named("x/mod.rs", text), ["crate::seen::here"]);
    }

    #[test]
    fn texts_are_found_with_their_lines_and_those_in_comments_and_tests_are_not() {
        let text = "f(\"a.b\"); // \"c.d\"\ng('\"', \"e \\\" {\"); #[cfg(test)] mod tests { h(\"}\") }\ni(\"j\")";
        let expected = [("a.b", 1), ("e \\\" {", 2), ("j", 3)];
        assert_eq!(texts(text), expected.map(|(text, line)| (text.to_owned(), line)));
    }

    #[test]
    fn code_for_tests_is_left_out_and_what_follows_is_not() {
        let text = "#[cfg(test)] mod tests { use crate::a; fn f() { crate::b::c() } }
                    #[cfg(test)] use crate::d; use crate::e;";
        assert_eq!(named("x/mod.rs", text), ["crate::e"]);
    }

    #[test]
    fn a_module_for_tests_is_known_by_its_declaration() {
        let text = "#[cfg(test)]\nmod tests;\nmod other;\n#[cfg(test)]\nmod real_data;";
        assert_eq!(test_modules("x/mod.rs", text), ["x/tests", "x/real_data"]);
        assert_eq!(test_modules("x/y.rs", text), ["x/y/tests", "x/y/real_data"]);
    }

    #[test]
    fn super_is_resolved_by_the_files_place() {
        assert_eq!(named("x/y.rs", "use super::z; use super::super::w;"), ["crate::x::z", "crate::w"]);
        assert_eq!(named("x/mod.rs", "use self::y; use super::w;"), ["crate::x::y", "crate::w"]);
    }
}
