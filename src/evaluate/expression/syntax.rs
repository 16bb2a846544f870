//! From text to tree, by precedence climbing.

use regex::Regex;

use super::fields::is_field;

/// Longest expression, in bytes.
const LONGEST: usize = 4_096;
/// Most nodes of a tree, and so its greatest depth: evaluation recurses over it.
const MOST_NODES: usize = 400;
/// Deepest nesting of parentheses, lists and macros.
const DEEPEST: usize = 32;

#[derive(Debug)]
pub(super) enum Node {
    Null,
    Boolean(bool),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    /// `trace`, or the variable of a macro.
    Variable(String),
    Field(Box<Node>, String),
    Index(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Negative(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
    Conditional(Box<[Node; 3]>),
    Has(Box<Node>),
    Size(Box<Node>),
    TextTest(TextTest, Box<Node>, Box<Node>),
    Matches(Box<Node>, Regex),
    Macro(Macro, Box<Node>, String, Box<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextTest {
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

/// How tightly an operator binds, from loosest to tightest.
const OPERATORS: &[(&str, Operator, u8)] = &[
    ("||", Operator::Or, 1),
    ("&&", Operator::And, 2),
    ("==", Operator::Equal, 3),
    ("!=", Operator::NotEqual, 3),
    ("<=", Operator::LessOrEqual, 3),
    (">=", Operator::GreaterOrEqual, 3),
    ("<", Operator::Less, 3),
    (">", Operator::Greater, 3),
    ("in", Operator::In, 3),
    ("+", Operator::Add, 4),
    ("-", Operator::Subtract, 4),
    ("*", Operator::Multiply, 5),
    ("/", Operator::Divide, 5),
    ("%", Operator::Remainder, 5),
];

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Number(f64),
    Text(String),
    Sign(&'static str),
}

const SIGNS: [&str; 24] = [
    "||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "(", ")", "[", "]", ".", ",", "?", ":",
    "{", "}",
];

pub(super) fn parse(text: &str) -> Result<Node, String> {
    if text.len() > LONGEST {
        return Err(format!("the expression is longer than {LONGEST} bytes"));
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, nodes: 0, depth: 0, variables: vec!["trace".to_owned()] };
    let root = parser.conditional()?;
    match parser.peek() {
        None => Ok(root),
        Some(_) => Err(parser.unexpected()),
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, String> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let span = |belongs: fn(char) -> bool| rest.find(|character| !belongs(character)).unwrap_or(rest.len());
        let (length, token) = match first {
            _ if first.is_whitespace() => {
                at += first.len_utf8();
                continue;
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let length = span(|character| character.is_ascii_alphanumeric() || character == '_');
                (length, Token::Word(rest[..length].to_owned()))
            }
            '0'..='9' => {
                let length = span(|character| character.is_ascii_digit() || character == '.');
                let number = rest[..length].parse().map_err(|_| format!("{:?} is no number", &rest[..length]))?;
                (length, Token::Number(number))
            }
            '\'' | '"' => {
                let (length, text) =
                    quoted(rest, first).ok_or_else(|| format!("the text at {} is not closed", at + 1))?;
                (length, Token::Text(text))
            }
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => (sign.len(), Token::Sign(sign)),
                None => return Err(format!("{first:?} at {} is not understood", at + 1)),
            },
        };
        tokens.push((at + 1, token));
        at += length;
    }
    Ok(tokens)
}

/// A text with its quotes: its length in the source, and what it stands for.
fn quoted(rest: &str, quote: char) -> Option<(usize, String)> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    loop {
        match characters.next()? {
            (at, character) if character == quote => return Some((at + 1, text)),
            (_, '\\') => text.push(match characters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            (_, character) => text.push(character),
        }
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    nodes: usize,
    depth: usize,
    variables: Vec<String>,
}

type Parsed = Result<Node, String>;

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn is_at(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(found)) if *found == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let is_there = self.is_at(sign);
        self.next += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) { Ok(()) } else { Err(format!("{}, expected {sign:?}", self.unexpected())) }
    }

    fn unexpected(&self) -> String {
        match self.tokens.get(self.next) {
            Some((at, Token::Word(word))) => format!("unexpected {word:?} at {at}"),
            Some((at, Token::Number(number))) => format!("unexpected {number} at {at}"),
            Some((at, Token::Text(text))) => format!("unexpected text {text:?} at {at}"),
            Some((at, Token::Sign(sign))) => format!("unexpected {sign:?} at {at}"),
            None => "the expression ends too early".to_owned(),
        }
    }

    fn word(&mut self) -> Result<String, String> {
        let Some(Token::Word(word)) = self.peek() else { return Err(self.unexpected()) };
        let word = word.clone();
        self.next += 1;
        Ok(word)
    }

    /// Counts a node, so that trees stay small whatever the text.
    fn node(&mut self, node: Node) -> Parsed {
        self.nodes += 1;
        if self.nodes > MOST_NODES { Err(format!("the expression has more than {MOST_NODES} parts")) } else { Ok(node) }
    }

    fn conditional(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("the expression is nested deeper than {DEEPEST}"));
        }
        let condition = self.binary(1)?;
        let node = if self.take("?") {
            let then = self.conditional()?;
            self.expect(":")?;
            let otherwise = self.conditional()?;
            self.node(Node::Conditional(Box::new([condition, then, otherwise])))?
        } else {
            condition
        };
        self.depth -= 1;
        Ok(node)
    }

    fn binary(&mut self, loosest: u8) -> Parsed {
        let mut left = self.unary()?;
        while let Some((operator, binding)) = self.operator().filter(|(_, binding)| *binding >= loosest) {
            self.next += 1;
            let right = self.binary(binding + 1)?;
            left = self.node(Node::Binary(operator, Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn operator(&self) -> Option<(Operator, u8)> {
        let text = match self.peek()? {
            Token::Sign(sign) => sign,
            Token::Word(word) => word.as_str(),
            Token::Number(_) | Token::Text(_) => return None,
        };
        OPERATORS.iter().find(|(sign, _, _)| *sign == text).map(|(_, operator, binding)| (*operator, *binding))
    }

    fn unary(&mut self) -> Parsed {
        let mut signs = Vec::new();
        while self.is_at("!") || self.is_at("-") {
            signs.push(self.is_at("!"));
            self.next += 1;
        }
        let mut node = self.member()?;
        for is_not in signs.into_iter().rev() {
            let inner = Box::new(node);
            node = self.node(if is_not { Node::Not(inner) } else { Node::Negative(inner) })?;
        }
        Ok(node)
    }

    fn member(&mut self) -> Parsed {
        let mut node = self.primary()?;
        loop {
            if self.take(".") {
                let name = self.word()?;
                node = if self.take("(") { self.method(node, &name)? } else { self.field(node, name)? };
            } else if self.take("[") {
                let index = self.conditional()?;
                self.expect("]")?;
                node = self.node(Node::Index(Box::new(node), Box::new(index)))?;
            } else {
                return Ok(node);
            }
        }
    }

    fn field(&mut self, of: Node, name: String) -> Parsed {
        let is_key = matches!(&of, Node::Field(_, field) if field == "attributes");
        if !is_key && !is_field(&name) {
            return Err(format!("there is no field {name:?}"));
        }
        self.node(Node::Field(Box::new(of), name))
    }

    fn primary(&mut self) -> Parsed {
        let Some(token) = self.peek().cloned() else { return Err(self.unexpected()) };
        let node = match token {
            Token::Number(number) => Node::Number(number),
            Token::Text(text) => Node::Text(text),
            Token::Sign("(") => {
                self.next += 1;
                let inner = self.conditional()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Sign("[") => {
                self.next += 1;
                return self.list();
            }
            Token::Sign(_) => return Err(self.unexpected()),
            Token::Word(word) => return self.named(word),
        };
        self.next += 1;
        self.node(node)
    }

    fn list(&mut self) -> Parsed {
        let mut items = Vec::new();
        while !self.is_at("]") {
            items.push(self.conditional()?);
            if !self.take(",") {
                break;
            }
        }
        self.expect("]")?;
        self.node(Node::List(items))
    }

    fn named(&mut self, word: String) -> Parsed {
        let node = match word.as_str() {
            "null" => Node::Null,
            "true" => Node::Boolean(true),
            "false" => Node::Boolean(false),
            "has" | "size" => return self.function(&word),
            _ if self.variables.contains(&word) => Node::Variable(word),
            _ => return Err(format!("{}; what can be named is {}", self.unexpected(), self.variables.join(", "))),
        };
        self.next += 1;
        self.node(node)
    }

    fn function(&mut self, name: &str) -> Parsed {
        self.next += 1;
        self.expect("(")?;
        let argument = self.conditional()?;
        self.expect(")")?;
        match (name, argument) {
            ("has", field @ (Node::Field(..) | Node::Index(..))) => self.node(Node::Has(Box::new(field))),
            ("has", _) => Err("has() asks for a field, such as has(trace.cost_usd)".to_owned()),
            (_, argument) => self.node(Node::Size(Box::new(argument))),
        }
    }

    fn method(&mut self, of: Node, name: &str) -> Parsed {
        let of = Box::new(of);
        let node = match name {
            "size" => Node::Size(of),
            "contains" => Node::TextTest(TextTest::Contains, of, Box::new(self.conditional()?)),
            "startsWith" => Node::TextTest(TextTest::StartsWith, of, Box::new(self.conditional()?)),
            "endsWith" => Node::TextTest(TextTest::EndsWith, of, Box::new(self.conditional()?)),
            "matches" => Node::Matches(of, self.pattern()?),
            "all" => self.over(Macro::All, of)?,
            "exists" => self.over(Macro::Exists, of)?,
            "exists_one" => self.over(Macro::ExistsOne, of)?,
            "filter" => self.over(Macro::Filter, of)?,
            "map" => self.over(Macro::Map, of)?,
            _ => return Err(format!("there is no function {name:?}")),
        };
        self.expect(")")?;
        self.node(node)
    }

    fn pattern(&mut self) -> Result<Regex, String> {
        let Some(Token::Text(pattern)) = self.peek().cloned() else {
            return Err(format!("{}, expected a pattern as text", self.unexpected()));
        };
        self.next += 1;
        Regex::new(&pattern).map_err(|error| error.to_string().lines().last().unwrap_or_default().trim().to_owned())
    }

    fn over(&mut self, which: Macro, list: Box<Node>) -> Parsed {
        let variable = self.word()?;
        self.expect(",")?;
        self.variables.push(variable.clone());
        let body = self.conditional()?;
        self.variables.pop();
        Ok(Node::Macro(which, list, variable, Box::new(body)))
    }
}
