//! One case at a time, for a person to judge: by keys at a case every few seconds, or by hand without any script.

use axum::extract::State;
use axum::response::IntoResponse;
use maud::{Markup, html};

use super::super::WebState;
use super::super::parameters::Parameters;
use super::PageError;
use super::figures::capitalized;
use super::layout::{address, badge, instant, page_with_keys, trace_link};
use super::text::{Budget, clipped};
use crate::backends::store::{MOST_COUNTED, ReviewFilter, Stream};
use crate::domain::ids::TraceId;
use crate::domain::label::{Answer, FlagReason, Label};
use crate::queries::reviewing::{
    AnsweredCase, Progress, Reading, ReviewCase, SeenData, SeenRun, answered_by, case_at, case_of, check_judge,
    progress, reveal,
};

/// Characters shown of one text.
const CHARACTERS: usize = 6_000;
/// Characters shown of one case.
const PAGE_CHARACTERS: usize = 60_000;
/// Calls shown of one run.
const CALLS: usize = 60;

/// Who reviews what.
pub(super) struct Desk {
    pub(super) reviewer: String,
    pub(super) judge: Option<String>,
    pub(super) stream: Option<Stream>,
}

impl Desk {
    /// The page of this desk, with further parameters.
    pub(super) fn address(&self, further: &[(&str, &str)]) -> String {
        let stream = self.stream.map(Stream::as_str);
        let own = [("judge", self.judge.as_deref()), ("stream", stream)];
        let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let all: Vec<_> =
            [("reviewer", self.reviewer.as_str())].into_iter().chain(own).chain(further.iter().copied()).collect();
        address("/review", &all)
    }

    fn of_case(&self, label: &Label) -> String {
        self.address(&[("trace", &label.trace_id.to_string()), ("evaluator", &label.evaluator)])
    }

    fn of_stream(&self, stream: Stream) -> String {
        Self { reviewer: self.reviewer.clone(), judge: self.judge.clone(), stream: Some(stream) }.address(&[])
    }
}

impl WebState {
    pub(super) fn reading(&self) -> Reading<'_> {
        Reading { store: &self.store, names: &self.names, prices: &self.prices, evaluators: &self.evaluators }
    }
}

pub(in crate::web) async fn review(
    State(state): State<WebState>,
    mut parameters: Parameters,
) -> Result<impl IntoResponse, PageError> {
    let reviewer = parameters.take("reviewer").filter(|name| !name.trim().is_empty());
    let judge = parameters.take("judge").filter(|name| !name.is_empty());
    let stream: Option<Stream> = parameters.parse("stream", "audit, flagged or second")?;
    let place = parameters.parse("place", "a place in the queue")?.unwrap_or(0);
    let trace: Option<TraceId> = parameters.parse("trace", "32 hexadecimal digits")?;
    let evaluator = parameters.take("evaluator");
    parameters.finish()?;
    check_judge(&state.store, &state.evaluators, judge.as_deref()).await?;
    let Some(reviewer) = reviewer else {
        return Ok(page_with_keys("Review", "/review", &welcome(&state, judge.as_deref())));
    };
    let progress = progress(&state.store, &reviewer, judge.as_deref(), state.clock.now()).await?;
    let stream =
        stream.or_else(|| progress.waiting.iter().find(|(_, waiting)| *waiting > 0).map(|(stream, _)| *stream));
    let desk = Desk { reviewer, judge, stream };
    let answered = answered_by(&state.store, &desk.reviewer).await?;
    let shown = match trace.zip(evaluator) {
        Some((trace_id, evaluator)) => Some(case_of(state.reading(), trace_id, &evaluator).await?),
        None => case_at(state.reading(), desk.filter(), place).await?,
    };
    if let Some(case) = &shown {
        state.shown(&[case.trace_id]).await?;
    }
    let at = Place::of(&desk, shown.as_ref(), &answered, trace.is_none().then_some(place));
    let last = match answered.first() {
        Some(label) if trace.is_none() => Some(reveal(&state.store, label.clone()).await?),
        _ => None,
    };
    let content = html! {
        h1 { "Review" }
        (bar(&desk, &progress))
        @if let Some(last) = &last { (answer(&desk, last)) }
        @match &shown {
            Some(case) => (one_case(&desk, case, &at)),
            None => (nothing(&desk, &progress)),
        }
        (help(&at))
        @if let Some(case) = &shown { (queue_forms(&desk, case)) }
    };
    Ok(page_with_keys("Review", "/review", &content))
}

impl Desk {
    fn filter(&self) -> ReviewFilter<'_> {
        ReviewFilter {
            stream: self.stream.unwrap_or(Stream::Audit),
            evaluator: self.judge.as_deref(),
            reviewer: Some(&self.reviewer),
        }
    }
}

/// Where the keys lead from the shown case, and what was answered to it before.
struct Place {
    undo: Option<String>,
    next: Option<String>,
    before: Option<String>,
    answered: Option<Answer>,
}

impl Place {
    fn of(desk: &Desk, shown: Option<&ReviewCase>, answered: &[Label], place: Option<usize>) -> Self {
        let is_shown = |label: &&Label| {
            shown.is_some_and(|case| (case.trace_id, &case.evaluator) == (label.trace_id, &label.evaluator))
        };
        let at = answered.iter().position(|label| is_shown(&label));
        let earlier = match (place, at) {
            // From a case that is looked at again, one further back.
            (None, Some(at)) => answered.get(at + 1),
            _ => answered.first(),
        };
        let to = |place: usize| desk.address(&[("place", &place.to_string())]);
        Self {
            undo: earlier.map(|label| desk.of_case(label)),
            next: place
                .filter(|_| shown.is_some())
                .map(|place| to(place + 1))
                .or_else(|| place.is_none().then(|| to(0))),
            before: place.and_then(|place| place.checked_sub(1)).map(to),
            answered: at.and_then(|at| answered.get(at)).map(|label| label.label),
        }
    }
}

fn welcome(state: &WebState, judge: Option<&str>) -> Markup {
    let is_other = |name: &&str| judge.is_none_or(|judge| *name != judge);
    let flagging = state.evaluators.definitions().iter().filter(|it| it.flag);
    html! {
        h1 { "Review" }
        p { "You are shown one run at a time, without what its judge said: a random sample of what judges judge, and what "
            "rules and judges flag. Your answers tell how far each judge can be trusted, and correct what it estimates." }
        form method="get" action="/review" {
            label { "Your name" input name="reviewer" required maxlength="200" autofocus; }
            label { "Judge or rule"
                select name="judge" {
                    @if let Some(judge) = judge { option { (clipped(judge, 80)) } }
                    option value="" { "all" }
                    @for name in flagging.map(|it| it.name.as_str()).filter(is_other) { option { (name) } }
                }
            }
            button { "Begin" }
        }
        p { a href="/review/agreement" { "How far people agree" } }
    }
}

/// Who is at work, how far they are, and the streams.
fn bar(desk: &Desk, progress: &Progress) -> Markup {
    html! {
        p.desk {
            strong { (clipped(&desk.reviewer, 80)) } " · " (progress.today) " answered today"
            @if let Some(judge) = &desk.judge { " · only " (clipped(judge, 80)) }
            @for (stream, waiting) in &progress.waiting {
                " · " a href=(desk.of_stream(*stream)) aria-current=[(desk.stream == Some(*stream)).then_some("true")] {
                    (stream.as_str()) " " (waiting) @if *waiting == MOST_COUNTED { "+" }
                }
            }
            " · " a href="/review/agreement" { "agreement" }
        }
    }
}

/// The case before this one, now that it is answered: what the judge had said.
fn answer(desk: &Desk, last: &AnsweredCase) -> Markup {
    let label = &last.label;
    let trace = label.trace_id.to_string();
    let case = address("/review/case", &[("trace", &trace), ("evaluator", &label.evaluator)]);
    html! {
        aside.answered {
            p {
                "You said of " (trace_link(label.trace_id)) " by " (clipped(&label.evaluator, 60)) ": " (verdict(label.label)) " "
                @match &last.judge {
                    Some((judge, why)) => {
                        "; it was judged: " (verdict(*judge))
                        @if let Some(why) = why { span.muted { " " (clipped(why, 300)) } }
                    }
                    None => span.muted { "; how it was judged is not kept any more" },
                }
            }
            p {
                a href=(desk.of_case(label)) { "Answer it again" }
                @if label.label != Answer::Skip {
                    " · " a href=(case) download { "Regression case" }
                    " · " code { "cat case-" (&trace[..8]) ".jsonl >> evaluators/" (clipped(&label.evaluator, 60)) "/cases.jsonl" }
                }
            }
        }
    }
}

fn verdict(answer: Answer) -> Markup {
    let class = match answer {
        Answer::Pass => "good",
        Answer::Fail => "page",
        Answer::Skip => "",
    };
    badge(class, in_words(answer))
}

/// What an answer says of the run, so that no one takes it for one about the judge.
const fn in_words(answer: Answer) -> &'static str {
    match answer {
        Answer::Pass => "the run passes",
        Answer::Fail => "the run fails",
        Answer::Skip => "skip",
    }
}

fn one_case(desk: &Desk, case: &ReviewCase, at: &Place) -> Markup {
    let mut budget = Budget::new(PAGE_CHARACTERS);
    html! {
        section.case {
            p {
                (badge("info", &clipped(&case.evaluator, 60))) " "
                @if let Some(stream) = desk.stream { (why(stream, case.flagged)) }
                " · " (trace_link(case.trace_id))
            }
            @if let Some(question) = &case.question { p.question { (clipped(question, 1_000)) } }
            (answer_form(desk, case, at))
            @match &case.run {
                Some(run) => (seen(run, &mut budget)),
                None => p.notice { "The spans of this run are gone. Skip it, unless you know it from elsewhere." },
            }
            @if desk.stream == Some(Stream::Flagged) && !case.failed_rules.is_empty() {
                h3 { "Rules that fail it" }
                ul { @for (rule, why) in &case.failed_rules { li { (clipped(rule, 60)) ": " (budget.clip(why, 500)) } } }
            }
        }
    }
}

fn why(stream: Stream, flagged: Option<FlagReason>) -> Markup {
    html! {
        @match stream {
            Stream::Audit => { (badge("", "random")) span.muted { " drawn at random: your answer measures the judge" } }
            Stream::Flagged => {
                (badge("warn", "flagged")) " "
                @if let Some(reason) = flagged { (reason.in_words()) }
                span.muted { ": your answer helps to improve it" }
            }
            Stream::Second => { (badge("", "second")) span.muted { " someone else has answered: do you agree?" } }
        }
    }
}

fn answer_form(desk: &Desk, case: &ReviewCase, at: &Place) -> Markup {
    let keys = [("y", Answer::Pass, "yes, "), ("n", Answer::Fail, "no, "), ("s", Answer::Skip, "")];
    html! {
        form.answer method="post" action="/review/label" {
            // Enter in a text field would press the first button.
            button hidden disabled {}
            (hidden(desk, case))
            @for (key, answer, to_question) in keys {
                @let value = answer.as_str();
                button name="label" value=(value) data-key=(key) class=(value) { kbd { (key) } " " (capitalized(&format!("{to_question}{}", in_words(answer)))) }
            }
            label { input name="note" data-key="c" maxlength="500" placeholder="Why (c)" aria-label="Why"; }
        }
        @if let Some(answered) = at.answered {
            p.notice { "You answered: " (verdict(answered)) ". What you say now takes its place." }
        }
    }
}

/// What every form of a case carries.
fn hidden(desk: &Desk, case: &ReviewCase) -> Markup {
    html! {
        input type="hidden" name="reviewer" value=(desk.reviewer);
        input type="hidden" name="judge" value=(desk.judge.as_deref().unwrap_or_default());
        input type="hidden" name="stream" value=(desk.stream.unwrap_or(Stream::Audit).as_str());
        input type="hidden" name="trace_id" value=(case.trace_id);
        input type="hidden" name="evaluator" value=(case.evaluator);
    }
}

fn seen(run: &SeenRun, budget: &mut Budget) -> Markup {
    html! {
        div.reading {
            div { h3 { "Question" } (text(run.input.as_deref(), budget)) }
            div { h3 { "Answer" } (text(run.output.as_deref(), budget)) }
            div.data {
                h3 { "Data that the agent saw (" (run.data.len()) ")" }
                @for one in run.data.iter().take(CALLS) { (data(one, budget)) }
                @if run.data.is_empty() { p.muted { "none" } }
                @if run.data.len() > CALLS { p.muted { (run.data.len() - CALLS) " more are on the trace's page" } }
            }
        }
    }
}

fn data(one: &SeenData, budget: &mut Budget) -> Markup {
    html! {
        p {
            code { (budget.clip(&one.name, 120)) }
            @if let Some(arguments) = &one.arguments { " " span.muted { (budget.clip(arguments, 500)) } }
            @if let Some(status) = one.status { " " (badge("warn", status)) }
        }
        (text(one.text.as_deref(), budget))
    }
}

fn text(text: Option<&str>, budget: &mut Budget) -> Markup {
    html! {
        @match text {
            Some(text) => pre { (budget.clip(text, CHARACTERS)) },
            None => p.muted { "not recorded" },
        }
    }
}

fn nothing(desk: &Desk, progress: &Progress) -> Markup {
    let other = progress.waiting.iter().find(|(stream, waiting)| *waiting > 0 && Some(*stream) != desk.stream);
    html! {
        section {
            h2 { "Nothing waits for you here" }
            @match other {
                Some((stream, waiting)) => p { a href=(desk.of_stream(*stream)) { (waiting) " wait in the stream " (stream.as_str()) } },
                None => p.muted {
                    "Cases come as runs are evaluated: a random sample of what judges say, and of what is flagged the most severe of each "
                    "day. How many is " code { "[review]" } " in driftline.toml. An answer can still be changed: press u."
                },
            }
        }
    }
}

/// What the keys do; each is a link or a button that can be clicked as well.
fn help(at: &Place) -> Markup {
    let links = [
        ("u", &at.undo, "the case before, to answer it again"),
        ("j", &at.next, "the next case, leaving this one"),
        ("k", &at.before, "back"),
    ];
    html! {
        nav.keys {
            @for (key, address, what) in links {
                @if let Some(address) = address { a href=(address) data-key=(key) { kbd { (key) } " " (what) } " " }
            }
        }
        details.help {
            summary data-key="?" { kbd { "?" } " keys, assigning, removing" }
            dl.facts {
                @for (key, what) in [("y", "the run passes"), ("n", "the run fails"), ("s", "skip: asked, and not decided"), ("c", "say why; Escape leaves the field"), ("u", "undo: the case before, to answer it again"), ("j k", "next, back, without answering"), ("x", "remove this case for good")] {
                    div { dt { kbd { (key) } } dd { (what) } }
                }
            }
        }
    }
}

/// Taking a case out for good, and giving cases to someone.
fn queue_forms(desk: &Desk, case: &ReviewCase) -> Markup {
    html! {
        form method="post" action="/review/remove" {
            (hidden(desk, case))
            button data-key="x" { kbd { "x" } " Remove this case" }
        }
        form method="post" action="/review/assign" {
            input type="hidden" name="reviewer" value=(desk.reviewer);
            input type="hidden" name="judge" value=(desk.judge.as_deref().unwrap_or_default());
            input type="hidden" name="stream" value=(desk.stream.unwrap_or(Stream::Audit).as_str());
            label { "Give the next" input name="count" type="number" min="1" max="500" value="10" required; }
            label { "to" input name="assignee" required maxlength="200" placeholder="name"; }
            button { "Assign" }
        }
    }
}

/// An instant as the list of disagreements shows it.
pub(super) fn said(label: &Label) -> Markup {
    html! {
        (clipped(&label.reviewer, 80)) ": " (verdict(label.label)) " " span.muted { (instant(label.labelled_at)) }
        @if let Some(note) = &label.note { " " (clipped(note, 300)) }
    }
}
