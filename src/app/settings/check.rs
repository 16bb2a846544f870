//! Names every value that cannot be meant, in the file and in the environment.
//!
//! Each value is tried by itself among the defaults, which are right: what fails then is this value's own fault. So no
//! mistake hides another, and each has its place.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::{Settings, range};

/// Tables whose keys the user names: each of their entries is tried as a whole.
const OPEN_TABLES: &[&str] = &[
    "alerts.daily_cost_usd",
    "attributes",
    "judge.budget.services",
    "judge.models",
    "prices",
    "redaction.patterns",
    "sampling.services",
];
/// Lists of tables, absent from the defaults: each of their entries is tried as a whole.
const LISTS: &[&str] = &["alerts.channels", "budget", "sampling.policies", "sampling.upstream", "slo", "write_back"];

/// What a user wrote.
pub(super) struct Written<'a> {
    /// Name of the file.
    pub(super) name: &'a str,
    /// The file.
    pub(super) text: &'a str,
    /// `DRIFTLINE__SECTION__KEY`, `section__key` and value; these win over the file.
    pub(super) variables: &'a [Variable],
}

/// An environment variable that sets something.
pub(super) struct Variable {
    /// Its whole name.
    pub(super) name: String,
    /// Section and key.
    pub(super) path: Vec<String>,
    /// Its text.
    pub(super) value: String,
}

impl Written<'_> {
    /// Spans point into the file; behind its end, each variable has one position.
    const fn position(&self, variable: usize) -> Range<usize> {
        let position = self.text.len() + 1 + variable;
        position..position
    }

    /// `file:line`, or the variable by its name.
    fn place(&self, position: usize) -> String {
        let behind = position.checked_sub(self.text.len() + 1);
        match behind.and_then(|index| self.variables.get(index)) {
            Some(variable) => format!("environment variable {}", variable.name),
            None => format!("{}:{}", self.name, line_of(self.text, position)),
        }
    }
}

/// Every mistake in `written`, each as `place: what; remedy`, in order of place.
pub(super) fn mistakes(written: &Written<'_>, defaults: &str) -> Vec<String> {
    found(written, defaults).unwrap_or_else(|unreadable| vec![unreadable])
}

/// The mistakes, or why nothing can be checked at all.
fn found(written: &Written<'_>, defaults: &str) -> Result<Vec<String>, String> {
    let table = DeTable::parse(written.text).map_err(|error| {
        let place = written.place(error.span().map_or(0, |span| span.start));
        format!("{place}: not TOML: {}", error.message())
    })?;
    let wrong_defaults = |error: toml::de::Error| format!("the compiled-in defaults are wrong: {error}");
    let shape: toml::Table = defaults.parse().map_err(wrong_defaults)?;
    let defaults = DeTable::parse(defaults).map_err(wrong_defaults)?.into_inner();
    let mut table = table.into_inner();
    for (index, variable) in written.variables.iter().enumerate() {
        set_variable(&mut table, &shape, variable, &written.position(index));
    }
    let mut checker = Checker { written, shape: &shape, defaults, mistakes: Vec::new() };
    checker.table(&[], table);
    checker.mistakes.sort();
    Ok(checker.mistakes.into_iter().map(|(_, mistake)| mistake).collect())
}

fn read(table: DeTable<'_>) -> Result<Settings, toml::de::Error> {
    Settings::deserialize(Deserializer::from(Spanned::new(0..0, table)))
}

struct Checker<'a> {
    written: &'a Written<'a>,
    shape: &'a toml::Table,
    defaults: DeTable<'a>,
    /// Each with its position.
    mistakes: Vec<(usize, String)>,
}

impl<'a> Checker<'a> {
    fn mistake(&mut self, position: usize, what: &str) {
        self.mistakes.push((position, format!("{}: {what}", self.written.place(position))));
    }

    fn table(&mut self, above: &[String], table: DeTable<'a>) {
        for (key, value) in table {
            let path = [above, &[key.get_ref().to_string()]].concat();
            if OPEN_TABLES.contains(&above.join(".").as_str()) {
                self.attempt(&path, key.span().start, value);
            } else if LISTS.contains(&path.join(".").as_str()) {
                self.list(&path, value);
            } else {
                self.value(&path, key.span().start, value);
            }
        }
    }

    fn value(&mut self, path: &[String], key_position: usize, value: Spanned<DeValue<'a>>) {
        let position = value.span().start;
        let dotted = path.join(".");
        match (value.get_ref(), find(self.shape, path)) {
            (found, None) => self.unknown(path, key_position, found.is_table()),
            (DeValue::Table(table), Some(toml::Value::Table(_))) => self.table(path, table.clone()),
            (DeValue::Integer(_), Some(toml::Value::Float(_))) => self.attempt(path, position, value),
            (found, Some(expected)) if found.type_str() == expected.type_str() => self.attempt(path, position, value),
            (found, Some(toml::Value::Table(_))) => {
                self.mistake(position, &format!("{dotted} is of type {}; write [{dotted}]", found.type_str()));
            }
            (found, Some(expected)) => {
                let (found, wanted) = (found.type_str(), expected.type_str());
                self.mistake(position, &format!("{dotted} is of type {found}, expected {wanted} such as {expected}"));
            }
        }
    }

    fn list(&mut self, path: &[String], value: Spanned<DeValue<'a>>) {
        let (position, dotted) = (value.span().start, path.join("."));
        let DeValue::Array(entries) = value.into_inner() else {
            return self.mistake(position, &format!("{dotted} is a list of tables; write [[{dotted}]]"));
        };
        let mut names = BTreeSet::new();
        for entry in entries {
            let (span, mut alone) = (entry.span(), DeArray::new());
            if let Some(name) = entry.get_ref().get("name").and_then(|name| name.get_ref().as_str())
                && !names.insert(name.to_owned())
            {
                self.mistake(span.start, &format!("{dotted}: the name {name:?} is taken; choose another"));
            }
            alone.push(entry);
            self.attempt(path, span.start, Spanned::new(span, DeValue::Array(alone)));
        }
    }

    /// Whether the defaults with this value, and nothing else changed, are usable.
    fn attempt(&mut self, path: &[String], position: usize, value: Spanned<DeValue<'a>>) {
        let dotted = path.join(".");
        let mut alone = self.defaults.clone();
        insert(&mut alone, path, value.span(), value.clone());
        match read(alone) {
            Err(_) if find(self.shape, path).is_some_and(toml::Value::is_integer) => {
                self.mistake(position, &format!("{dotted} is out of range; keep to the size of its default"));
            }
            Err(error) => {
                let position = error.span().filter(|span| span.start > 0).map_or(position, |span| span.start);
                self.mistake(position, &format!("{dotted}: {}", error.message()));
            }
            Ok(settings) => {
                for problem in range::problems(&settings) {
                    let position = position_of(problem.key(), value.get_ref()).unwrap_or(position);
                    self.mistake(position, &problem.to_string());
                }
            }
        }
    }

    fn unknown(&mut self, path: &[String], position: usize, is_table: bool) {
        let above = path.split_last().map_or(&[][..], |(_, above)| above);
        let siblings = if above.is_empty() { Some(self.shape) } else { find(self.shape, above).and_then(as_table) };
        let mut known: Vec<&str> = siblings.into_iter().flat_map(toml::Table::keys).map(String::as_str).collect();
        let is_here = |list: &&str| list.rsplit_once('.').map_or("", |(above, _)| above) == above.join(".");
        known.extend(LISTS.iter().filter(|list| is_here(list)).map(|list| list.rsplit('.').next().unwrap_or(list)));
        let known = known.join(", ");
        let dotted = path.join(".");
        let what = if is_table { format!("unknown section [{dotted}]") } else { format!("unknown key {dotted}") };
        self.mistake(position, &format!("{what}; known here: {known}"));
    }
}

/// Where a key stands in an entry that is a table.
fn position_of(key: &str, value: &DeValue<'_>) -> Option<usize> {
    let DeValue::Table(table) = value else { return None };
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(name, _)| name.span().start)
}

fn as_table(value: &toml::Value) -> Option<&toml::Table> {
    value.as_table()
}

fn find<'a>(table: &'a toml::Table, path: &[String]) -> Option<&'a toml::Value> {
    let (first, rest) = path.split_first()?;
    let value = table.get(first)?;
    if rest.is_empty() { Some(value) } else { find(value.as_table()?, rest) }
}

/// Sets one value; what stands in its way and is no table stays, and is a mistake of its own.
fn insert<'a>(table: &mut DeTable<'a>, path: &[String], position: Range<usize>, value: Spanned<DeValue<'a>>) {
    let Some((first, rest)) = path.split_first() else { return };
    let key = Spanned::new(position.clone(), first.clone().into());
    if rest.is_empty() {
        // A key that is there would keep its old position.
        table.remove(first.as_str());
        table.insert(key, value);
        return;
    }
    let empty = || Spanned::new(position.clone(), DeValue::Table(DeTable::new()));
    if let DeValue::Table(inner) = table.entry(key).or_insert_with(empty).get_mut() {
        insert(inner, rest, position, value);
    }
}

/// A variable's text is a text where one is expected, else TOML where it is that.
fn set_variable<'a>(table: &mut DeTable<'a>, shape: &toml::Table, variable: &'a Variable, position: &Range<usize>) {
    let text = || DeValue::String(variable.value.as_str().into());
    let value = match find(shape, &variable.path) {
        Some(toml::Value::String(_)) => text(),
        _ => DeValue::parse(&variable.value).map_or_else(|_| text(), Spanned::into_inner),
    };
    insert(table, &variable.path, position.clone(), Spanned::new(position.clone(), moved(value, position)));
}

/// The value with its elements at the position.
fn moved<'a>(value: DeValue<'a>, position: &Range<usize>) -> DeValue<'a> {
    let DeValue::Array(elements) = value else { return value };
    let mut array = DeArray::new();
    elements.into_iter().for_each(|element| array.push(Spanned::new(position.clone(), element.into_inner())));
    DeValue::Array(array)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}
