//! The value of a tree for a trace, in a bounded number of steps.

use std::cmp::Ordering;

use super::Unanswered;
use super::fields::Value;
use super::syntax::{Macro, Node, Operator, TextTest};
use crate::domain::trace::Trace;
use crate::evaluate::kinds::clip;

/// Most steps of one evaluation.
pub(super) const MOST_STEPS: usize = 100_000;
/// Bytes of a text that are looked at in one step.
const BYTES_A_STEP: usize = 1_024;

type Answer<'a> = Result<Value<'a>, Unanswered>;

/// One evaluation: what is named, and how many steps are left.
pub(super) struct Evaluation<'a> {
    variables: Vec<(&'a str, Value<'a>)>,
    steps: usize,
}

impl<'a> Evaluation<'a> {
    pub(super) fn of(trace: &'a Trace) -> Self {
        Self { variables: vec![("trace", Value::Trace(trace))], steps: MOST_STEPS }
    }

    fn spend(&mut self, steps: usize) -> Result<(), Unanswered> {
        self.steps = self.steps.checked_sub(steps).ok_or(Unanswered::TooLong)?;
        Ok(())
    }

    pub(super) fn value(&mut self, node: &'a Node) -> Answer<'a> {
        self.spend(1)?;
        match node {
            Node::Null => Ok(Value::Absent("null".to_owned())),
            Node::Boolean(boolean) => Ok(Value::Boolean(*boolean)),
            Node::Number(number) => Ok(Value::Number(*number)),
            Node::Text(text) => Ok(Value::Text(text.as_str().into())),
            Node::List(items) => items.iter().map(|item| self.value(item)).collect::<Result<_, _>>().map(Value::List),
            Node::Variable(name) => self.variable(name),
            Node::Field(of, name) => self.field(of, name),
            Node::Index(of, index) => self.index(of, index),
            Node::Not(inner) => self.boolean(inner).map(|holds| Value::Boolean(!holds)),
            Node::Negative(inner) => self.number(inner).map(|number| Value::Number(-number)),
            Node::Binary(operator @ (Operator::And | Operator::Or), left, right) => {
                self.logical(*operator == Operator::Or, left, right)
            }
            Node::Binary(operator, left, right) => self.binary(*operator, left, right),
            Node::Conditional(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                let chosen = if self.boolean(condition)? { then } else { otherwise };
                self.value(chosen)
            }
            Node::Has(field) => Ok(Value::Boolean(!matches!(self.value(field)?, Value::Absent(_)))),
            Node::Size(of) => self.size(of),
            Node::TextTest(test, text, part) => self.text_test(*test, text, part),
            Node::Matches(text, pattern) => {
                let text = self.text(text)?;
                Ok(Value::Boolean(pattern.is_match(&text)))
            }
            Node::Macro(which, list, variable, body) => self.over(*which, list, variable, body),
        }
    }

    fn variable(&mut self, name: &str) -> Answer<'a> {
        let found = self.variables.iter().rev().find(|(variable, _)| *variable == name);
        let value = found.map(|(_, value)| value.clone());
        // Copying a list of the trace takes as long as it is.
        self.spend(value.as_ref().map_or(0, weight))?;
        value.ok_or_else(|| Unanswered::WrongType(format!("{name} is not known here")))
    }

    fn field(&mut self, of: &'a Node, name: &str) -> Answer<'a> {
        let record = self.present(of)?;
        let value = record
            .field(name)
            .ok_or_else(|| Unanswered::WrongType(format!("{} has no field {name:?}", record.kind())))?;
        self.spend(weight(&value))?;
        Ok(value)
    }

    fn index(&mut self, of: &'a Node, index: &'a Node) -> Answer<'a> {
        let (of, index) = (self.present(of)?, self.present(index)?);
        match (of, index) {
            (Value::List(items), Value::Number(number)) => {
                let at = (number >= 0.0 && number.fract() == 0.0).then_some(number as usize);
                let item = at.and_then(|at| items.into_iter().nth(at));
                Ok(item.unwrap_or_else(|| Value::Absent(format!("[{number}]"))))
            }
            (record @ Value::Attributes(_), Value::Text(name)) => {
                Ok(record.field(&name).unwrap_or_else(|| Value::Absent(clip(&name))))
            }
            (of, index) => Err(Unanswered::WrongType(format!("{} has no index that is {}", of.kind(), index.kind()))),
        }
    }

    /// `&&` and `||`: a side that has no answer does not matter where the other one decides.
    fn logical(&mut self, deciding: bool, left: &'a Node, right: &'a Node) -> Answer<'a> {
        let left = self.boolean(left);
        if matches!(left, Err(Unanswered::TooLong)) || left == Ok(deciding) {
            return left.map(Value::Boolean);
        }
        let right = self.boolean(right);
        if right == Ok(deciding) { Ok(Value::Boolean(deciding)) } else { left.and(right).map(Value::Boolean) }
    }

    fn binary(&mut self, operator: Operator, left: &'a Node, right: &'a Node) -> Answer<'a> {
        if matches!(operator, Operator::Equal | Operator::NotEqual) {
            let (left, right) = (self.value(left)?, self.value(right)?);
            return Ok(Value::Boolean(self.equal(&left, &right)? == (operator == Operator::Equal)));
        }
        let (left, right) = (self.present(left)?, self.present(right)?);
        if operator == Operator::In {
            return self.is_in(&left, &right).map(Value::Boolean);
        }
        let wrong = || Unanswered::WrongType(format!("{} and {} do not go together", left.kind(), right.kind()));
        let ordering = match (&left, &right) {
            (Value::Number(left), Value::Number(right)) => match arithmetic(operator, *left, *right) {
                Some(number) => return Ok(Value::Number(number)),
                None => left.partial_cmp(right),
            },
            (Value::Text(left), Value::Text(right)) => {
                self.spend(left.len().min(right.len()) / BYTES_A_STEP)?;
                Some(left.cmp(right))
            }
            _ => None,
        };
        compared(operator, ordering.ok_or_else(wrong)?).map(Value::Boolean).ok_or_else(wrong)
    }

    fn is_in(&mut self, item: &Value<'a>, list: &Value<'a>) -> Result<bool, Unanswered> {
        match (item, list) {
            (_, Value::List(items)) => {
                for other in items {
                    if self.equal(item, other)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (Value::Text(name), Value::Attributes(attributes)) => Ok(attributes.contains_key(name.as_ref())),
            _ => Err(Unanswered::WrongType(format!("{} cannot be in {}", item.kind(), list.kind()))),
        }
    }

    fn equal(&mut self, left: &Value<'a>, right: &Value<'a>) -> Result<bool, Unanswered> {
        self.spend(1)?;
        Ok(match (left, right) {
            (Value::Absent(_), Value::Absent(_)) => true,
            (Value::Boolean(left), Value::Boolean(right)) => left == right,
            (Value::Number(left), Value::Number(right)) => left == right,
            (Value::Text(left), Value::Text(right)) => {
                self.spend(left.len().min(right.len()) / BYTES_A_STEP)?;
                left == right
            }
            (Value::List(left), Value::List(right)) if left.len() == right.len() => {
                for (left, right) in left.iter().zip(right) {
                    if !self.equal(left, right)? {
                        return Ok(false);
                    }
                }
                true
            }
            _ => false,
        })
    }

    fn size(&mut self, of: &'a Node) -> Answer<'a> {
        let size = match self.present(of)? {
            Value::Text(text) => {
                self.spend(text.len() / BYTES_A_STEP)?;
                text.chars().count()
            }
            Value::List(items) => items.len(),
            Value::Attributes(attributes) => attributes.len(),
            other => return Err(Unanswered::WrongType(format!("{} has no size", other.kind()))),
        };
        Ok(Value::Number(size as f64))
    }

    fn text_test(&mut self, test: TextTest, text: &'a Node, part: &'a Node) -> Answer<'a> {
        let (text, part) = (self.text(text)?, self.text(part)?);
        Ok(Value::Boolean(match test {
            TextTest::Contains => text.contains(part.as_ref()),
            TextTest::StartsWith => text.starts_with(part.as_ref()),
            TextTest::EndsWith => text.ends_with(part.as_ref()),
        }))
    }

    fn over(&mut self, which: Macro, list: &'a Node, variable: &'a str, body: &'a Node) -> Answer<'a> {
        let items = match self.present(list)? {
            Value::List(items) => items,
            other => return Err(Unanswered::WrongType(format!("{} is no list", other.kind()))),
        };
        let mut results = Vec::new();
        for item in items {
            self.spend(weight(&item))?;
            self.variables.push((variable, item.clone()));
            let result = if which == Macro::Map { self.value(body) } else { self.boolean(body).map(Value::Boolean) };
            self.variables.pop();
            if matches!(result, Err(Unanswered::TooLong)) {
                return result;
            }
            results.push((item, result));
        }
        collected(which, results)
    }

    fn present(&mut self, node: &'a Node) -> Answer<'a> {
        match self.value(node)? {
            Value::Absent(name) => Err(Unanswered::Absent(name)),
            value => Ok(value),
        }
    }

    fn boolean(&mut self, node: &'a Node) -> Result<bool, Unanswered> {
        match self.present(node)? {
            Value::Boolean(boolean) => Ok(boolean),
            other => Err(Unanswered::WrongType(format!("{} is neither true nor false", other.kind()))),
        }
    }

    fn number(&mut self, node: &'a Node) -> Result<f64, Unanswered> {
        match self.present(node)? {
            Value::Number(number) => Ok(number),
            other => Err(Unanswered::WrongType(format!("{} is no number", other.kind()))),
        }
    }

    /// A text that is about to be searched.
    fn text(&mut self, node: &'a Node) -> Result<std::borrow::Cow<'a, str>, Unanswered> {
        match self.present(node)? {
            Value::Text(text) => {
                self.spend(text.len() / BYTES_A_STEP)?;
                Ok(text)
            }
            other => Err(Unanswered::WrongType(format!("{} is no text", other.kind()))),
        }
    }
}

/// Steps that making a value took beyond one.
fn weight(value: &Value<'_>) -> usize {
    match value {
        Value::List(items) => items.len(),
        _ => 0,
    }
}

fn arithmetic(operator: Operator, left: f64, right: f64) -> Option<f64> {
    match operator {
        Operator::Add => Some(left + right),
        Operator::Subtract => Some(left - right),
        Operator::Multiply => Some(left * right),
        Operator::Divide => Some(left / right),
        Operator::Remainder => Some(left % right),
        _ => None,
    }
}

fn compared(operator: Operator, ordering: Ordering) -> Option<bool> {
    match operator {
        Operator::Less => Some(ordering.is_lt()),
        Operator::LessOrEqual => Some(ordering.is_le()),
        Operator::Greater => Some(ordering.is_gt()),
        Operator::GreaterOrEqual => Some(ordering.is_ge()),
        _ => None,
    }
}

/// As in CEL, an item without an answer does not matter to `all` and `exists` where another one decides.
fn collected<'a>(which: Macro, results: Vec<(Value<'a>, Answer<'a>)>) -> Answer<'a> {
    let is = |result: &Answer<'a>, expected: bool| matches!(result, Ok(Value::Boolean(found)) if *found == expected);
    let decided = match which {
        Macro::All => results.iter().any(|(_, result)| is(result, false)).then_some(false),
        Macro::Exists => results.iter().any(|(_, result)| is(result, true)).then_some(true),
        Macro::ExistsOne | Macro::Filter | Macro::Map => None,
    };
    if let Some(decided) = decided {
        return Ok(Value::Boolean(decided));
    }
    let (mut holding, mut mapped) = (Vec::new(), Vec::new());
    for (item, result) in results {
        let result = result?;
        if matches!(result, Value::Boolean(true)) {
            holding.push(item);
        }
        mapped.push(result);
    }
    Ok(match which {
        Macro::All => Value::Boolean(true),
        Macro::Exists => Value::Boolean(false),
        Macro::ExistsOne => Value::Boolean(holding.len() == 1),
        Macro::Filter => Value::List(holding),
        Macro::Map => Value::List(mapped),
    })
}
