//! The detectors that `detect` names: a form, and a test that tells the real thing from what only looks like it.
//!
//! All forms have bounded length, so that a match that the test refuses costs no second look at the whole text.
//! Sources: ISO/IEC 7812 (cards), ISO 13616 (IBAN), ITU-T E.164 (telephone numbers), RFC 2606 (reserved domains), the
//! countries' rules of their numbers, and the token formats that the services publish for scanners of secrets.

use super::checksums::{digits, is_luhn, italian_check_character, remainder_by_97, weighted_by_11};

/// One thing that should not be seen.
#[derive(Debug)]
pub struct Detector {
    /// Its name in `detect`.
    pub name: &'static str,
    /// What it finds, and how it is told from what looks like it.
    pub doc: &'static str,
    /// Its form; every repetition is bounded.
    pub(super) form: &'static str,
    /// How many bytes of the match are the real thing; `None` when it only looks like it.
    pub(super) accept: fn(&str) -> Option<usize>,
}

/// Every detector: personal data, then secrets.
pub const DETECTORS: &[Detector] = &[
    Detector {
        name: "payment_card",
        doc: "card number: range and length of a known brand, check digit",
        form: r"\b(?:\d{14,16}|\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{4}|\d{4}[ -]\d{6}[ -]\d{4,5})\b",
        accept: |text| whole_if(text, is_payment_card(&digits(text))),
    },
    Detector {
        name: "iban",
        doc: "bank account: length of its country, check digits",
        form: r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
        accept: iban_length,
    },
    Detector {
        name: "email",
        doc: "e-mail address outside the reserved example domains; no check digit",
        form: r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}\b",
        accept: |text| whole_if(text, !is_reserved_domain(text)),
    },
    Detector {
        name: "phone",
        doc: "telephone number in international form, with + and 8 to 15 digits; no check digit",
        form: r"\+[1-9](?:[ .()-]{0,2}\d){7,14}\b",
        accept: |text| whole_if(text, true),
    },
    Detector {
        name: "us_ssn",
        doc: "US social security number with hyphens: ranges that are given out; no check digit",
        form: r"\b\d{3}-\d{2}-\d{4}\b",
        accept: |text| whole_if(text, is_us_ssn(text)),
    },
    Detector {
        name: "es_dni",
        doc: "Spanish DNI or NIE: check letter",
        form: r"\b[XYZ0-9]\d{7}-?[A-HJ-NP-TV-Z]\b",
        accept: |text| whole_if(text, is_es_dni(text)),
    },
    Detector {
        name: "it_codice_fiscale",
        doc: "Italian tax code: check character",
        form: r"\b[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z]\b",
        accept: |text| {
            let (code, check) = text.as_bytes().split_at(text.len() - 1);
            whole_if(text, italian_check_character(code).as_slice() == check)
        },
    },
    Detector {
        name: "fr_nir",
        doc: "French social security number: month, two check digits",
        form: r"\b[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}\b",
        accept: |text| whole_if(text, is_fr_nir(text)),
    },
    Detector {
        name: "no_fodselsnummer",
        doc: "Norwegian identity number: date, two check digits",
        form: r"\b(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])\d{2} ?\d{5}\b",
        accept: |text| whole_if(text, is_no_fodselsnummer(&digits(text))),
    },
    Detector {
        name: "br_cpf",
        doc: "Brazilian taxpayer number with its punctuation: two check digits",
        form: r"\b\d{3}\.\d{3}\.\d{3}-\d{2}\b",
        accept: |text| whole_if(text, is_br_cpf(&digits(text))),
    },
    Detector {
        name: "private_key",
        doc: "the first line of a PEM or PGP private key",
        form: r"-----BEGIN (?:[A-Z]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----",
        accept: |text| whole_if(text, true),
    },
    Detector {
        name: "aws_access_key",
        doc: "AWS access key id",
        form: r"\bA(?:KIA|SIA)[A-Z2-7]{16}\b",
        accept: unless_placeholder,
    },
    Detector {
        name: "github_token",
        doc: "GitHub token, classic or fine-grained",
        form: r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})\b",
        accept: unless_placeholder,
    },
    Detector {
        name: "gitlab_token",
        doc: "GitLab access token",
        form: r"\bglpat-[A-Za-z0-9_-]{20,64}\b",
        accept: unless_placeholder,
    },
    Detector {
        name: "slack_token",
        doc: "Slack token",
        form: r"\bxox[abeoprs]-[A-Za-z0-9-]{20,200}\b",
        accept: unless_placeholder,
    },
    Detector {
        name: "stripe_key",
        doc: "Stripe live key",
        form: r"\b[rs]k_live_[A-Za-z0-9]{16,200}\b",
        accept: unless_placeholder,
    },
    Detector {
        name: "openai_key",
        doc: "OpenAI API key",
        form: r"\bsk-[A-Za-z0-9_-]{16,100}T3BlbkFJ[A-Za-z0-9_-]{16,100}\b",
        accept: unless_placeholder,
    },
    Detector {
        name: "anthropic_key",
        doc: "Anthropic API key",
        form: r"\bsk-ant-[a-z]{2,8}\d{2}-[A-Za-z0-9_-]{60,120}",
        accept: unless_placeholder,
    },
    Detector {
        name: "google_api_key",
        doc: "Google API key",
        form: r"\bAIza[A-Za-z0-9_-]{35}",
        accept: unless_placeholder,
    },
    Detector {
        name: "json_web_token",
        doc: "signed JSON Web Token",
        form: r"\beyJ[A-Za-z0-9_-]{10,500}\.eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{20,500}",
        accept: unless_placeholder,
    },
];

/// The detector of a name.
pub(in crate::evaluate) fn named(name: &str) -> Option<&'static Detector> {
    DETECTORS.iter().find(|detector| detector.name == name)
}

fn whole_if(text: &str, is_real: bool) -> Option<usize> {
    is_real.then_some(text.len())
}

/// Documentation shows keys too.
fn unless_placeholder(text: &str) -> Option<usize> {
    let is_placeholder = ["EXAMPLE", "example", "XXXX", "xxxx", "0000000000"].iter().any(|mark| text.contains(mark));
    whole_if(text, !is_placeholder)
}

/// Ranges of the brands that are in use, as of ISO/IEC 7812's registry: Visa, Mastercard, American Express, Diners,
/// Discover, JCB.
fn is_payment_card(digits: &[u32]) -> bool {
    let first = |count: usize| digits.iter().take(count).fold(0, |number, digit| number * 10 + digit);
    let is_of_a_brand = match digits.len() {
        16 => {
            first(1) == 4
                || matches!(first(2), 51..=55 | 65)
                || matches!(first(4), 2221..=2720 | 3528..=3589 | 6011)
                || matches!(first(3), 644..=649)
        }
        15 => matches!(first(2), 34 | 37),
        14 => matches!(first(2), 36 | 38) || matches!(first(3), 300..=305),
        _ => false,
    };
    is_of_a_brand && is_luhn(digits)
}

/// Length of an account number by country (SWIFT's IBAN registry; the countries in daily use).
fn iban_country_length(country: &str) -> Option<usize> {
    Some(match country {
        "NO" => 15,
        "BE" => 16,
        "DK" | "FI" | "FO" | "GL" | "NL" => 18,
        "MK" | "SI" => 19,
        "AT" | "BA" | "EE" | "KZ" | "LT" | "LU" | "XK" => 20,
        "CH" | "HR" | "LI" | "LV" => 21,
        "BG" | "BH" | "CR" | "DE" | "GB" | "GE" | "IE" | "ME" | "RS" => 22,
        "AE" | "GI" | "IL" | "IQ" | "TL" => 23,
        "AD" | "CZ" | "ES" | "MD" | "PK" | "RO" | "SA" | "SE" | "SK" | "TN" | "VG" => 24,
        "PT" | "ST" => 25,
        "IS" | "TR" => 26,
        "FR" | "GR" | "IT" | "MC" | "MR" | "SM" => 27,
        "AL" | "AZ" | "BY" | "CY" | "DO" | "GT" | "HU" | "LB" | "PL" | "SV" => 28,
        "BR" | "EG" | "PS" | "QA" | "UA" => 29,
        "JO" | "KW" | "MU" => 30,
        "MT" | "SC" => 31,
        _ => return None,
    })
}

/// A word after the number may look like its last group, so the country's length decides where it ends.
fn iban_length(text: &str) -> Option<usize> {
    let length = iban_country_length(text.get(..2)?)?;
    let (end, _) = text.char_indices().filter(|(_, character)| *character != ' ').nth(length - 1)?;
    let (number, rest) = text.split_at_checked(end + 1)?;
    let is_whole = rest.is_empty() || rest.starts_with(' ');
    let (head, tail) = number.split_at_checked(4)?;
    (is_whole && remainder_by_97(tail.chars().chain(head.chars())) == 1).then_some(number.len())
}

fn is_reserved_domain(address: &str) -> bool {
    let domain = address.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let mut labels = domain.rsplit('.');
    let (top, second) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
    matches!(top, "test" | "example" | "invalid" | "localhost") || second == "example"
}

fn is_us_ssn(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut is_given_out = |never: &[&str]| parts.next().is_some_and(|part| !never.contains(&part));
    !text.starts_with('9') && is_given_out(&["000", "666"]) && is_given_out(&["00"]) && is_given_out(&["0000"])
}

fn is_es_dni(text: &str) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let as_number = text.replace('-', "").replace('X', "0").replace('Y', "1").replace('Z', "2");
    // The check letter may itself be X, Y or Z, so it is read from the text as it was.
    let number = as_number.get(..8).and_then(|digits| digits.parse::<usize>().ok());
    number.is_some_and(|number| text.as_bytes().last() == LETTERS.get(number % 23))
}

/// Corsica's departments 2A and 2B count as 19 and 18.
fn is_fr_nir(text: &str) -> bool {
    let compact = text.replace(' ', "");
    let (Some(number), Some(key)) = (compact.get(..13), compact.get(13..)) else { return false };
    let number = number.replace("2A", "19").replace("2B", "18");
    match (number.parse::<u64>(), key.parse::<u64>()) {
        (Ok(number), Ok(key)) => 97 - number % 97 == key,
        _ => false,
    }
}

fn is_no_fodselsnummer(digits: &[u32]) -> bool {
    let first = weighted_by_11(digits, &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]);
    let second = weighted_by_11(digits, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]);
    digits.len() == 11 && first == 0 && second == 0
}

fn is_br_cpf(digits: &[u32]) -> bool {
    let check = |weights: &[u32]| weighted_by_11(digits, weights) * 10 % 11 % 10;
    let is_varied = digits.windows(2).any(|pair| pair[0] != pair[1]);
    let first_check = [10, 9, 8, 7, 6, 5, 4, 3, 2];
    let second_check = [11, 10, 9, 8, 7, 6, 5, 4, 3, 2];
    is_varied && digits.get(9) == Some(&check(&first_check)) && digits.get(10) == Some(&check(&second_check))
}
