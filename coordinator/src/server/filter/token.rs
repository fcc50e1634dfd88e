//! Cuts a filter into tokens: words, quoted texts and signs, each with its position. Never knows a
//! field or a value.

use super::FilterError;
use crate::engine::filter::Order;

/// A token and where it begins, in characters from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: TokenKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Unquoted: a field, a value or AND.
    Word(String),
    /// Quoted: a value.
    Text(String),
    /// A comparison sign.
    Sign(Order),
    /// Nothing more.
    End,
}

impl TokenKind {
    /// What it looks like, for a refusal.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Word(word) => crate::server::convert::field::quoted(word),
            Self::Text(text) => format!("the text {}", crate::server::convert::field::quoted(text)),
            Self::Sign(order) => sign(*order).to_owned(),
            Self::End => "nothing".to_owned(),
        }
    }
}

const fn sign(order: Order) -> &'static str {
    match order {
        Order::Less => "<",
        Order::AtMost => "<=",
        Order::Equal => "=",
        Order::NotEqual => "!=",
        Order::AtLeast => ">=",
        Order::Greater => ">",
    }
}

/// A reader of tokens.
pub(super) struct Tokens<'a> {
    rest: std::iter::Peekable<std::iter::Enumerate<std::str::Chars<'a>>>,
    end: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: text.chars().enumerate().peekable(),
            end: text.chars().count() + 1,
        }
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Result<Token, FilterError> {
        while self
            .rest
            .next_if(|(_, character)| character.is_whitespace())
            .is_some()
        {}
        let Some((index, character)) = self.rest.next() else {
            return Ok(Token {
                at: self.end,
                kind: TokenKind::End,
            });
        };
        let at = index + 1;
        let kind = match character {
            '"' => TokenKind::Text(self.text(at)?),
            '=' => TokenKind::Sign(Order::Equal),
            '<' if self.takes('=') => TokenKind::Sign(Order::AtMost),
            '<' => TokenKind::Sign(Order::Less),
            '>' if self.takes('=') => TokenKind::Sign(Order::AtLeast),
            '>' => TokenKind::Sign(Order::Greater),
            '!' if self.takes('=') => TokenKind::Sign(Order::NotEqual),
            first if is_word(first) => TokenKind::Word(self.word(first)),
            other => {
                return Err(FilterError::Found {
                    at,
                    found: crate::server::convert::field::quoted(&other.to_string()),
                    wanted: "a field, a value, one of = != < <= > >=, or AND (texts with other \
                             characters are quoted: \"..\")"
                        .to_owned(),
                });
            }
        };
        Ok(Token { at, kind })
    }

    fn takes(&mut self, wanted: char) -> bool {
        self.rest
            .next_if(|(_, character)| *character == wanted)
            .is_some()
    }

    fn word(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some((_, character)) = self.rest.next_if(|(_, character)| is_word(*character)) {
            word.push(character);
        }
        word
    }

    /// The rest of a quoted text that began at `at`.
    fn text(&mut self, at: usize) -> Result<String, FilterError> {
        let unfinished = || FilterError::Found {
            at,
            found: "an unfinished text".to_owned(),
            wanted: "a closing quote".to_owned(),
        };
        let mut text = String::new();
        loop {
            match self.rest.next().ok_or_else(unfinished)? {
                (_, '"') => return Ok(text),
                (_, '\\') => match self.rest.next().ok_or_else(unfinished)? {
                    (_, escaped @ ('"' | '\\')) => text.push(escaped),
                    (index, other) => {
                        return Err(FilterError::Found {
                            at: index + 1,
                            found: crate::server::convert::field::quoted(&other.to_string()),
                            wanted: "\\\" or \\\\".to_owned(),
                        });
                    }
                },
                (_, character) => text.push(character),
            }
        }
    }
}

/// What unquoted words are made of: enough for names, prefixes, numbers, instants and ages.
const fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-' | ':' | '+' | '*')
}
