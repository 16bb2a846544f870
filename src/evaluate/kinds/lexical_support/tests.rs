#![expect(clippy::print_stdout, reason = "a measurement and a skipped test must be seen")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use super::super::testing::{failure, found, mistakes, passes};
use super::*;
use crate::evaluate::real_data::shared_data;

const DATA: &str = "Order A7: delivered 2026-03-01, two lamps for 59.80 EUR, paid by Ada Byron. It was not damaged.";

fn supported(answer: &str) -> Support<'_> {
    support(answer, &[DATA], std::iter::empty()).unwrap()
}

#[test]
fn a_number_or_name_that_the_data_lacks_is_named_once_in_the_order_of_the_answer() {
    let unsupported =
        supported("We sent 40 lamps to Grace Byron in Oslo, and 40 lamps for 59.8 EUR to Ada.").unsupported;
    assert_eq!(unsupported, ["40", "Grace", "Oslo"]);
}

#[test]
fn what_the_user_said_may_be_repeated() {
    let words = ["It is for Grace in Oslo"].into_iter();
    assert_eq!(support("We sent it to Grace in Bergen", &[DATA], words).unwrap().unsupported, ["Bergen"]);
}

#[test]
fn an_answer_of_figures_and_a_question_as_long_take_time_linear_in_both() {
    let figures = |from: u32| (from..from + 100_000).map(|number| format!("{number} ")).collect::<String>();
    let (answer, question) = (figures(100_000), figures(200_000));
    let found = support(&answer, &[DATA], [question.as_str(), &answer[..14]].into_iter()).unwrap();
    assert_eq!((found.unsupported.len(), found.unsupported[0]), (99_998, "100002"));
}

#[test]
fn a_negation_must_stand_by_its_word_in_the_data_too() {
    assert_eq!(supported("The lamps were not damaged.").denials, 0);
    assert_eq!(supported("The lamps were never delivered.").denials, 1);
    assert_eq!(supported("The lamps were delivered.").denials, 0);
}

#[test]
fn words_in_new_company_are_apart() {
    let together = supported("two lamps, paid by Ada Byron");
    assert_eq!((together.apart, together.pairs), (0, 4));
    let apart = supported("Ada damaged order A7");
    assert_eq!((apart.apart, apart.pairs), (1, 3), "damaged and order are farther apart than eight words");
}

#[test]
fn what_one_text_of_the_data_leaves_open_another_settles_whatever_their_lengths() {
    let answer = "Two lamps were never delivered to Ada Byron";
    let before = "Whoever was told of it knows that it was not for Ada, and he agrees";
    let after = "Whoever was told of it knows about Ada that he was not meant by it";
    let delivered = "We say here that it was delivered to Ada in spring";
    let found = |data: &[&str]| {
        let found = support(answer, data, std::iter::empty()).unwrap();
        (found.unsupported.len(), found.denials, found.pairs, found.apart)
    };
    for (turn, denied) in (0..5).flat_map(|turn| [(turn, before), (turn, after)]) {
        let mut data = ["two lamps", "Ada Byron", denied, "lamps delivered", delivered];
        data.rotate_left(turn);
        assert_eq!(found(&data), (0, 0, 4, 0), "{data:?}");
        let without = |text: &str| data.iter().copied().filter(|other| *other != text).collect::<Vec<_>>();
        assert_eq!(found(&without("Ada Byron")), (1, 0, 4, 1), "{data:?}");
        assert_eq!(found(&without(denied)), (0, 1, 4, 0), "{data:?}");
    }
}

#[test]
fn an_answer_of_one_word_is_found_or_not() {
    assert_eq!((supported("Lamps.").apart, supported("Lamps.").pairs), (0, 1));
    assert_eq!((supported("Chairs.").apart, supported("Chairs.").pairs), (1, 1));
    assert!(support("... of the", &[DATA], std::iter::empty()).is_none());
}

#[test]
fn one_wrong_figure_fails_a_run_and_other_words_alone_do_not() {
    let run = |answer: &str| json!({"output": answer, "steps": [{"retrieval": "A7", "documents": [DATA]}]});
    assert!(passes(&found("lexical_support", "", run("Two lamps for 59.80 EUR."))));
    assert!(passes(&found("lexical_support", "", run("Everything seems splendid, dear customer!"))));
    let finding = found("lexical_support", "", run("Two lamps for 95.80 EUR."));
    let expected =
        "1 numbers or names are not in the data: 95.80; 2 of 3 pairs of words do not stand together in the data";
    assert_eq!(failure(&finding), Some(expected));
    assert!(passes(&found("lexical_support", "threshold = 3", run("Two lamps for 95.80 EUR."))));
}

#[test]
fn a_run_without_data_says_whether_it_is_missing() {
    let missing = found("lexical_support", "", json!({"output": "x", "steps": [{"tool": "t"}]}));
    assert!(matches!(missing, Finding::NotEvaluable(_)), "{missing:?}");
    let nothing = found("lexical_support", "", json!({"output": "x", "steps": [{"model": "m"}]}));
    assert!(matches!(nothing, Finding::NotApplicable(_)), "{nothing:?}");
    let unanswered = found("lexical_support", "", json!({"steps": [{"tool": "t", "result": "x"}]}));
    assert_eq!(unanswered, Finding::NotEvaluable("gen_ai.output.messages".to_owned()));
}

#[test]
fn a_threshold_that_cannot_divide_is_refused() {
    assert!(mistakes("lexical_support", "threshold = 0.0").contains("set it above zero"));
    assert!(mistakes("lexical_support", "threshold = nan").contains("set it above zero"));
}

#[test]
fn a_hostile_answer_and_hostile_data_take_time_in_proportion_to_their_size() {
    let answer: String = (0..50_000).map(|number| format!("a{number} lamp not ")).collect();
    let data = "lamp not ".repeat(100_000);
    assert_eq!(support(&answer, &[&data], std::iter::empty()).unwrap().denials, 0);
}

struct Graded {
    context: String,
    question: String,
    answer: String,
    is_grounded: bool,
}

fn graded(file: &std::path::Path) -> Vec<Graded> {
    let file = std::fs::File::open(file).unwrap();
    let lines = BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines();
    let row = |line: String| {
        let row: Value = serde_json::from_str(&line).unwrap();
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        Graded {
            context: text("context"),
            question: text("question"),
            answer: text("response"),
            is_grounded: row["label"].as_bool().unwrap(),
        }
    };
    lines.map(|line| row(line.unwrap())).collect()
}

type Score = fn(&Graded) -> f64;

/// The score that the rule gives, with the context as its only data.
fn score(row: &Graded) -> f64 {
    let words = [row.question.as_str()].into_iter();
    1.0 / (1.0 + support(&row.answer, &[&row.context], words).map_or(0.0, |support| support.points()))
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// ROUGE-1 precision: the share of the answer's words that the context has, each as often as there.
fn overlap(row: &Graded) -> f64 {
    let mut left: HashMap<String, usize> = HashMap::new();
    for word in words(&row.context) {
        *left.entry(word).or_default() += 1;
    }
    let answer = words(&row.answer);
    let mut found = 0.0;
    for word in &answer {
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            found += 1.0;
        }
    }
    found / answer.len().max(1) as f64
}

/// ROUGE-L precision: the share of the answer's words in the longest common subsequence with the context.
fn subsequence(row: &Graded) -> f64 {
    let (answer, context) = (words(&row.answer), words(&row.context));
    let mut longest = vec![0_u32; context.len() + 1];
    for word in &answer {
        let mut diagonal = 0;
        for (index, other) in context.iter().enumerate() {
            let above = longest[index + 1];
            longest[index + 1] = if word == other { diagonal + 1 } else { above.max(longest[index]) };
            diagonal = above;
        }
    }
    f64::from(longest[context.len()]) / answer.len().max(1) as f64
}

/// Area under the ROC curve: how often a grounded answer scores above an ungrounded one, ties counting a half.
fn area(scored: &[(f64, bool)]) -> f64 {
    let of = |grounded: bool| scored.iter().filter(move |(_, label)| *label == grounded).map(|(score, _)| *score);
    let wins: f64 = of(true)
        .map(|good| {
            of(false)
                .map(|bad| {
                    if good > bad {
                        1.0
                    } else if good == bad {
                        0.5
                    } else {
                        0.0
                    }
                })
                .sum::<f64>()
        })
        .sum();
    wins / (of(true).count() * of(false).count()) as f64
}

fn balanced_accuracy(scored: &[(f64, bool)], threshold: f64) -> f64 {
    let rate = |grounded: bool| {
        let of: Vec<f64> = scored.iter().filter(|(_, label)| *label == grounded).map(|(score, _)| *score).collect();
        of.iter().filter(|score| (**score >= threshold) == grounded).count() as f64 / of.len() as f64
    };
    (rate(true) + rate(false)) / 2.0
}

fn best_threshold(scored: &[(f64, bool)]) -> f64 {
    let candidates = scored.iter().map(|(score, _)| *score);
    let better =
        |left: &f64, right: &f64| balanced_accuracy(scored, *left).total_cmp(&balanced_accuracy(scored, *right));
    candidates.max_by(better).unwrap()
}

/// Questions and documents come in groups, so whole groups go to one half.
fn halves(rows: &[Graded], score: Score) -> [Vec<(f64, bool)>; 2] {
    let mut halves = [Vec::new(), Vec::new()];
    for row in rows {
        let group = row.context.bytes().fold(0_usize, |hash, byte| hash.wrapping_mul(31) ^ usize::from(byte));
        halves[group % 2].push((score(row), row.is_grounded));
    }
    halves
}

/// Share of answers that are on the right side of a threshold.
fn accuracy(scored: &[(f64, bool)], threshold: f64) -> f64 {
    let right = scored.iter().filter(|(score, grounded)| (*score >= threshold) == *grounded).count();
    right as f64 / scored.len() as f64
}

/// F1 of finding the ungrounded answers.
fn f1(scored: &[(f64, bool)], threshold: f64) -> f64 {
    let count = |is_failing: bool, is_grounded: bool| {
        let is_it = |(score, grounded): &&(f64, bool)| (*score < threshold) == is_failing && *grounded == is_grounded;
        scored.iter().filter(is_it).count() as f64
    };
    let found = count(true, false);
    2.0 * found / (2.0 * found + count(true, true) + count(false, false))
}

/// For each set and score: the threshold is chosen on one half, everything is reported on the other. The weights of
/// `lexical_support` were chosen with both halves in view, so its own figures flatter it; its margin over plain overlap,
/// which has no weights, is what is held.
#[test]
fn it_ranks_graded_answers_better_than_plain_overlap() {
    let Some(folder) = shared_data() else {
        println!("skipped: no shared data");
        return;
    };
    let headings = ["n", "AUC", "threshold", "accuracy", "balanced", "F1", "shipped"];
    println!("{:<12}{:<17}{}", "set", "score", headings.map(|heading| format!("{heading:>10}")).concat());
    for (set, least) in [("halueval-qa", 0.95), ("summedits", 0.57)] {
        let rows = graded(&folder.join(format!("groundedness_{set}.jsonl.gz")));
        let scores: [(&str, Score); 3] = [("rouge_1", overlap), ("rouge_l", subsequence), ("lexical_support", score)];
        let areas = scores.map(|(name, score)| {
            let [chosen_on, reported_on] = halves(&rows, score);
            let (threshold, area) = (best_threshold(&chosen_on), area(&reported_on));
            let figures = [
                area,
                threshold,
                accuracy(&reported_on, threshold),
                balanced_accuracy(&reported_on, threshold),
                f1(&reported_on, threshold),
                balanced_accuracy(&reported_on, 0.5),
            ];
            let figures = figures.map(|figure| format!("{figure:>10.3}")).concat();
            println!("{set:<12}{name:<17}{:>10}{figures}", reported_on.len());
            area
        });
        assert!(areas[2] > areas[0].max(areas[1]) + 0.03 && areas[2] > least, "{set}: {areas:?}");
    }
}
