use fastrand::Rng;

use super::super::tokens::size;
use super::*;

/// A judge's least limit, and then some.
const LIMITS: [usize; 3] = [1_000, 4_000, 20_000];

fn section<'a>(input: Input, texts: impl IntoIterator<Item = &'a str>) -> Section<'a> {
    Section { input, is_required: true, pieces: texts.into_iter().map(Piece::new).collect() }
}

fn optional<'a>(input: Input, texts: impl IntoIterator<Item = &'a str>) -> Section<'a> {
    Section { is_required: false, ..section(input, texts) }
}

#[test]
fn texts_within_the_limit_are_left_alone() {
    let sections = vec![section(Input::Question, ["why"]), section(Input::Answer, ["because"])];
    let fitted = fit(sections, 10).unwrap();
    assert!(!fitted.is_truncated());
    assert_eq!(fitted.text(Input::Answer).as_deref(), Some("because"));
}

#[test]
fn the_longest_text_is_cut_and_the_short_ones_are_not() {
    let long = format!("START{}END", "x".repeat(10_000));
    let sections = vec![section(Input::Question, ["why"]), section(Input::RetrievedData, [long.as_str(), "short"])];
    let fitted = fit(sections, 1_000).unwrap();
    assert!(fitted.is_truncated());
    assert_eq!(fitted.text(Input::Question).as_deref(), Some("why"));
    let data = fitted.text(Input::RetrievedData).unwrap();
    assert!(data.starts_with("START") && data.contains("END\n\nshort"), "{data}");
    assert!(data.contains("bytes left out ...]\nx"), "{data}");
}

#[test]
fn what_the_answer_cites_is_kept_wherever_it_stands() {
    let text = format!("{}order 4711 holds two lamps{}", "x ".repeat(9_000), " y".repeat(9_000));
    let sections = vec![section(Input::Answer, ["Order 4711 it is."]), section(Input::RetrievedData, [text.as_str()])];
    let data = fit(sections, 1_000).unwrap().text(Input::RetrievedData).unwrap();
    assert!(data.contains("order 4711 holds two lamps"), "{data}");
    assert_eq!(data.matches("bytes left out").count(), 2, "{data}");
}

#[test]
fn a_failed_step_is_kept_when_steps_from_the_middle_are_left_out() {
    let calls: Vec<String> = (0..400).map(|number| format!("call {number:03} {}", "x".repeat(300))).collect();
    let mut sections =
        vec![section(Input::Answer, ["See call 398."]), section(Input::ToolCalls, calls.iter().map(String::as_str))];
    sections[1].pieces[200].is_failed = true;
    let shown = fit(sections, 5_000).unwrap().text(Input::ToolCalls).unwrap();
    for kept in ["call 000", "call 200", "call 398", "call 399"] {
        assert!(shown.contains(kept), "{kept}");
    }
    assert!(!shown.contains("call 199") && !shown.contains("call 201"));
    assert_eq!(shown.matches("texts left out").count(), 2, "before and after the failed one");
}

#[test]
fn cited_data_that_does_not_fit_makes_the_trace_not_evaluable_and_optional_data_does_not() {
    let documents: Vec<String> = (0..100).map(|number| format!("{number} {}", "z".repeat(4_000))).collect();
    let answer: String = (1..=100).map(|number| format!("[{number}] ")).collect();
    let sections = |is_required| {
        let mut data = section(Input::RetrievedData, documents.iter().map(String::as_str));
        data.is_required = is_required;
        data.pieces.iter_mut().zip(1..).for_each(|(piece, number)| piece.document = Some(number));
        vec![section(Input::Answer, [answer.as_str()]), data]
    };
    let lost = fit(sections(true), 20_000).unwrap_err();
    assert_eq!(lost.to_string(), "retrieved_data as far as the answer cites it, which does not fit into 20000 tokens");
    assert!(fit(sections(false), 20_000).unwrap().is_truncated());
}

#[test]
fn texts_are_not_left_out_of_required_data_when_no_one_can_tell_what_the_answer_rests_on() {
    let documents: Vec<String> = (0..100).map(|number| format!("{number} {}", "x".repeat(500))).collect();
    let texts = || documents.iter().map(String::as_str);
    let silent = vec![section(Input::Answer, ["All is well."]), section(Input::RetrievedData, texts())];
    assert_eq!(fit(silent, 1_000).unwrap_err().input, Input::RetrievedData);
    let silent = vec![section(Input::Answer, ["All is well."]), optional(Input::RetrievedData, texts())];
    assert!(fit(silent, 1_000).is_ok());
}

#[test]
fn a_text_in_another_script_is_taken_for_as_long_as_it_is() {
    let (latin, han) = ("word ".repeat(800), "退款需要十天".repeat(500));
    let is_cut = |text: &str| fit(vec![section(Input::Answer, [text])], 2_000).unwrap().is_truncated();
    assert!(!is_cut(&latin) && is_cut(&han), "4,000 and 3,000 characters");
}

/// Letters of one to four bytes, line breaks, digits and marks.
fn text(rng: &mut Rng, most: usize) -> String {
    let alphabet = ['a', 'b', ' ', '\n', '7', '{', '"', 'é', 'ж', '退', 'ह', '🦀'];
    (0..rng.usize(..=most)).map(|_| alphabet[rng.usize(..alphabet.len())]).collect()
}

/// A run of many texts, some of them failed, and an answer that cites some of them by a number of their own.
fn run(rng: &mut Rng) -> (Vec<String>, Vec<bool>, String) {
    let count = rng.usize(1..120);
    let texts: Vec<String> = (0..count)
        .map(|number| {
            let (before, after) = (rng.usize(..1_500), rng.usize(..1_500));
            format!("{}#{}#{}", text(rng, before), 50_000 + number, text(rng, after))
        })
        .collect();
    let failed = (0..count).map(|_| rng.u32(..12) == 0).collect();
    let cited = (0..rng.usize(..6)).map(|_| format!(" {}", 50_000 + rng.usize(..count)));
    (texts, failed, format!("so it is:{}", cited.collect::<String>()))
}

#[test]
fn whatever_a_run_holds_it_fits_keeps_what_was_promised_and_says_what_it_lost() {
    let (mut cut, mut lost) = (0, 0);
    for seed in 0..400 {
        let mut rng = Rng::with_seed(seed);
        let (texts, failed, answer) = run(&mut rng);
        let (limit, is_required) = (LIMITS[rng.usize(..LIMITS.len())], rng.bool());
        let sections = || {
            let mut data = section(Input::ToolCalls, texts.iter().map(String::as_str));
            data.is_required = is_required;
            data.pieces.iter_mut().zip(&failed).for_each(|(piece, failed)| piece.is_failed = *failed);
            vec![section(Input::Answer, [answer.as_str()]), data]
        };
        let whole: usize = sections().iter().flat_map(|it| &it.pieces).map(|piece| piece.size).sum();
        match fit(sections(), limit) {
            Err(it) => {
                lost += 1;
                assert!(is_required && it.input == Input::ToolCalls, "{seed}");
            }
            Ok(fitted) => {
                cut += usize::from(fitted.is_truncated());
                let shown = [Input::Answer, Input::ToolCalls].map(|input| fitted.text(input).unwrap());
                assert!(shown.iter().map(|text| size(text)).sum::<usize>() <= limit * PARTS, "{seed}");
                assert_eq!(fitted.is_truncated(), whole > limit * PARTS, "{seed}");
                assert_eq!(fitted.is_truncated(), shown.iter().any(|text| text.contains("left out ...]")), "{seed}");
                let cited = answer.split_whitespace().skip(3);
                let all_cited = cited.clone().all(|number| shown[1].contains(&format!("#{number}#")));
                assert!(all_cited || !is_required, "{seed}: {answer}");
                assert_eq!(
                    shown,
                    [Input::Answer, Input::ToolCalls].map(|it| fit(sections(), limit).unwrap().text(it).unwrap())
                );
            }
        }
    }
    assert!(cut > 100 && lost > 5, "{cut} cut, {lost} lost");
}

#[test]
fn the_common_length_uses_the_limit_up() {
    assert_eq!(common_length(vec![10, 1_000, 1_000], 1_010), 500);
    assert_eq!(common_length(vec![10, 20], 1_000), 1_000);
}

#[test]
fn ranges_that_touch_become_one() {
    assert_eq!(merged(vec![5..9, 0..3, 3..4, 7..12, 20..20]), [0..4, 5..12]);
}
