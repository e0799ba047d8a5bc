//! The HTML page of a report.

use std::fmt::Write;

use dendra_tensor::Result;

use super::{Classification, Report};
use crate::history::{Evaluation, is_percent};
use crate::plots::{DARK, Svg, learning_curve};

const STYLE: &str = include_str!("style.css");

/// Appends to a page. Writing to a string cannot fail.
macro_rules! put {
    ($page:expr, $($argument:tt)*) => {
        write!($page, $($argument)*).expect("writing to a string cannot fail")
    };
}

/// The whole page.
pub(super) fn page(report: &Report) -> Result<String> {
    let mut body = String::new();
    tiles(&mut body, report);
    curves(&mut body, report)?;
    if let Some(found) = &report.classification {
        confusion(&mut body, report, found);
        drawings(&mut body, "Thresholds", &found.curves()?);
        figures(&mut body, report, found);
        mistakes(&mut body, report, found);
    }
    if let Some(found) = &report.regression {
        let drawn = [found.predicted_against_true()?, found.residuals()?];
        drawings(&mut body, "Predictions", &drawn);
    }
    for (heading, markup) in &report.sections {
        let heading = escape(heading);
        put!(body, "<section><h2>{heading}</h2><div class=\"wide\">{markup}</div></section>\n");
    }
    settings(&mut body, report);
    epochs(&mut body, report);
    drawing(&mut body, report);
    Ok(framed(&report.title, &body))
}

/// A page with this title and body.
fn framed(title: &str, body: &str) -> String {
    let title = escape(title);
    // Curves are drawn in the colours of the light theme. Their attributes have
    // a lower priority than the style rules of the dark theme.
    let dark = DARK.iter().fold(String::new(), |rules, (color, instead)| {
        let color = format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2);
        rules
            + &format!(".plot [fill=\"{color}\"]{{fill:{instead}}}")
            + &format!(".plot [stroke=\"{color}\"]{{stroke:{instead}}}")
    });
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
         name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta \
         name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}\
         @media (prefers-color-scheme: dark){{{dark}}}\n</style>\n</head>\n<body>\n<main>\n\
         <header><h1>{title}</h1></header>\n{body}</main>\n<footer>Written by Dendra</footer>\n\
         </body>\n</html>\n"
    )
}

/// A page that requests its contents once a second.
#[cfg(feature = "live")]
pub(crate) fn live_page() -> String {
    const SCRIPT: &str = "<div id=\"now\"></div><script>\
        const show = () => fetch('/now').then(answer => answer.text()).then(text => {\
            document.getElementById('now').innerHTML = text; setTimeout(show, 1000);\
        }).catch(() => { document.querySelector('h1').textContent = 'Training is over'; });\
        show();</script>\n";
    framed("Training", SCRIPT)
}

/// The contents that [`live_page`] requests.
#[cfg(feature = "live")]
pub(super) fn live_body(report: &Report, position: &str, curve: Option<&Svg>) -> Result<String> {
    let mut body = String::new();
    put!(body, "<p class=\"note\">{}</p>", escape(position));
    tiles(&mut body, report);
    if let Some(curve) = curve {
        put!(
            body,
            "<section><h2>This run</h2><div class=\"plots\"><figure class=\"plot\">{curve}\
             </figure></div></section>\n"
        );
    }
    curves(&mut body, report)?;
    epochs(&mut body, report);
    Ok(body)
}

/// A page that compares runs.
pub(crate) fn comparison_page(head: &[String], rows: &[Vec<String>], curves: &[Svg]) -> String {
    let mut body = String::new();
    put!(body, "<section><div class=\"wide\"><table class=\"epochs\"><thead><tr>");
    head.iter().for_each(|name| put!(body, "<th>{}</th>", escape(name)));
    put!(body, "</tr></thead><tbody>");
    for row in rows {
        put!(body, "<tr>");
        for (column, cell) in row.iter().enumerate() {
            let cell = escape(cell);
            match column {
                0 => put!(body, "<th scope=\"row\">{cell}</th>"),
                _ => put!(body, "<td>{cell}</td>"),
            }
        }
        put!(body, "</tr>");
    }
    put!(body, "</tbody></table></div></section>\n");
    drawings(&mut body, "Curves", curves);
    framed("Runs", &body)
}

/// Charts under a heading.
fn drawings(page: &mut String, heading: &str, charts: &[Svg]) {
    if charts.is_empty() {
        return;
    }
    put!(page, "<section><h2>{heading}</h2><div class=\"plots\">");
    charts.iter().for_each(|chart| put!(page, "<figure class=\"plot\">{chart}</figure>"));
    put!(page, "</div></section>\n");
}

/// A text as HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn percent(share: f64) -> String {
    if share.is_nan() { "–".to_owned() } else { format!("{:.2}%", 100.0 * share) }
}

fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.2} s");
    }
    let whole = seconds.round() as u64;
    if whole < 3600 {
        return format!("{} min {:02} s", whole / 60, whole % 60);
    }
    format!("{} h {:02} min", whole / 3600, whole % 3600 / 60)
}

/// A figure of an evaluation, as tables show it.
fn figure(name: &str, value: f64) -> String {
    if is_percent(name) { percent(value) } else { format!("{value:.4}") }
}

fn tiles(page: &mut String, report: &Report) {
    let mut tiles: Vec<(String, String)> = Vec::new();
    if let Some(found) = &report.classification {
        tiles.push(("accuracy".into(), percent(found.accuracy())));
        tiles.push(("loss".into(), format!("{:.4}", found.loss)));
        let wrong = (found.samples() as f64 * (1.0 - found.accuracy())).round();
        tiles.push(("wrong".into(), format!("{wrong} of {}", found.samples())));
    } else if let Some(found) = &report.regression {
        for (name, value) in found.figures() {
            tiles.push((name.into(), format!("{value:.4}")));
        }
    } else if let Some(last) = report.history.last() {
        let shown = last.validation.as_ref().unwrap_or(&last.training);
        tiles.push(("loss".into(), format!("{:.4}", shown.loss)));
        tiles
            .extend(shown.metrics.iter().map(|(name, value)| (name.clone(), figure(name, *value))));
    }
    let epochs = &report.history.epochs;
    if !epochs.is_empty() {
        let seconds: f64 = epochs.iter().map(|epoch| epoch.seconds).sum();
        let samples: f64 = epochs.iter().map(|e| e.samples_per_second * e.seconds).sum();
        tiles.push(("epochs".into(), epochs.len().to_string()));
        tiles.push(("training time".into(), duration(seconds)));
        tiles.push(("samples per second".into(), format!("{:.0}", samples / seconds)));
    }
    if tiles.is_empty() {
        return;
    }
    put!(page, "<section class=\"tiles\">");
    for (name, value) in tiles {
        let (name, value) = (escape(&name), escape(&value));
        put!(page, "<div class=\"tile\"><b>{value}</b><span>{name}</span></div>");
    }
    put!(page, "</section>\n");
}

fn curves(page: &mut String, report: &Report) -> Result<()> {
    let Some(last) = report.history.last() else { return Ok(()) };
    let metrics = last.training.metrics.iter().map(|(name, _)| name.as_str());
    put!(page, "<section><h2>Learning curves</h2><div class=\"plots\">");
    for name in std::iter::once("loss").chain(metrics) {
        let drawable = [name.to_owned(), format!("validation {name}")]
            .iter()
            .any(|name| report.history.curve(name).iter().any(|(_, value)| value.is_finite()));
        if drawable {
            let svg = learning_curve(&report.history, name)?;
            put!(page, "<figure class=\"plot\">{svg}</figure>");
        }
    }
    put!(page, "</div></section>\n");
    Ok(())
}

fn confusion(page: &mut String, report: &Report, found: &Classification) {
    put!(
        page,
        "<section><h2>Confusion matrix</h2><p class=\"note\">Rows are the truth, columns what the \
         model said.</p><div class=\"wide\"><table class=\"confusion\"><thead><tr><td></td>"
    );
    for class in 0..found.confusion.len() {
        put!(page, "<th scope=\"col\">{}</th>", escape(&report.class(class)));
    }
    put!(page, "</tr></thead><tbody>");
    for (truth, row) in found.confusion.iter().enumerate() {
        let total = row.iter().sum::<u64>().max(1) as f64;
        let name = escape(&report.class(truth));
        put!(page, "<tr><th scope=\"row\">{name}</th>");
        for (predicted, &count) in row.iter().enumerate() {
            // The square root makes small counts visible.
            let strength = 100.0 * (count as f64 / total).sqrt();
            let (kind, strength) = match (truth == predicted, count) {
                (_, 0) => ("none", 0.0),
                // White text needs a dark background.
                (true, _) if strength < 60.0 => ("right pale", 0.8 * strength),
                (true, _) => ("right", 0.8 * strength),
                (false, _) => ("wrong", (2.2 * strength).clamp(10.0, 85.0)),
            };
            let said = escape(&report.class(predicted));
            put!(
                page,
                "<td class=\"{kind}\" style=\"--s:{strength:.0}%\" title=\"{name} taken for \
                 {said}: {count}\">{count}</td>"
            );
        }
        put!(page, "</tr>");
    }
    put!(page, "</tbody></table></div></section>\n");
}

fn figures(page: &mut String, report: &Report, found: &Classification) {
    put!(
        page,
        "<section><h2>Classes</h2><div class=\"wide\"><table class=\"figures\"><thead><tr>\
         <th>class</th><th>samples</th><th>precision</th><th>recall</th><th>F1</th></tr></thead>\
         <tbody>"
    );
    for (class, figures) in found.figures().iter().enumerate() {
        put!(page, "<tr><th scope=\"row\">{}</th>", escape(&report.class(class)));
        put!(page, "<td>{}</td>", figures.samples);
        for share in [figures.precision, figures.recall, figures.f1] {
            let width = if share.is_nan() { 0.0 } else { 100.0 * share };
            put!(page, "<td class=\"bar\" style=\"--w:{width:.1}%\">{}</td>", percent(share));
        }
        put!(page, "</tr>");
    }
    put!(page, "</tbody></table></div></section>\n");
}

fn mistakes(page: &mut String, report: &Report, found: &Classification) {
    if found.worst.is_empty() {
        return;
    }
    put!(
        page,
        "<section><h2>Worst mistakes</h2><p class=\"note\">Those to whose true class the model \
         gave the least probability.</p><div class=\"mistakes\">"
    );
    for mistake in &found.worst {
        put!(page, "<figure>");
        if let Some(picture) = &mistake.picture {
            put!(page, "<img src=\"{picture}\" alt=\"sample {}\">", mistake.index);
        }
        let (said, truth) = (report.class(mistake.predicted), report.class(mistake.truth));
        let (said, truth) = (escape(&said), escape(&truth));
        let certain = 100.0 * mistake.probability;
        put!(
            page,
            "<figcaption><b class=\"said\">{said}</b> <small>{certain:.1}%</small><br>is <b>{truth}\
             </b> <small>{:.2}%</small><br><small>sample {}</small></figcaption>",
            100.0 * mistake.of_truth,
            mistake.index
        );
        if !mistake.features.is_empty() {
            put!(page, "<table class=\"features\"><tbody>");
            for (name, value) in &mistake.features {
                let (name, value) = (escape(name), escape(value));
                put!(page, "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>");
            }
            put!(page, "</tbody></table>");
        }
        put!(page, "</figure>");
    }
    put!(page, "</div></section>\n");
}

fn settings(page: &mut String, report: &Report) {
    if report.settings.is_empty() && report.summary.is_none() {
        return;
    }
    put!(page, "<section><h2>Settings and model</h2><div class=\"split\">");
    if !report.settings.is_empty() {
        put!(page, "<table class=\"settings\"><tbody>");
        for (name, value) in &report.settings {
            let (name, value) = (escape(name), escape(value));
            put!(page, "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>");
        }
        put!(page, "</tbody></table>");
    }
    if let Some(summary) = &report.summary {
        put!(page, "<pre>{}</pre>", escape(summary.trim_end()));
    }
    put!(page, "</div></section>\n");
}

fn drawing(page: &mut String, report: &Report) {
    let Some(drawing) = &report.drawing else { return };
    put!(
        page,
        "<section><h2>Operations</h2><p class=\"note\">From the inputs to the outputs, by \
         the parts of the model; N is the number of samples.</p><figure class=\"plot drawing\">\
         {drawing}</figure></section>\n"
    );
}

fn epochs(page: &mut String, report: &Report) {
    let history = &report.history;
    let Some(last) = history.last() else { return };
    put!(
        page,
        "<section><h2>Epochs</h2><div class=\"wide\"><table class=\"epochs\"><thead><tr>\
         <th>epoch</th>"
    );
    let heads = |page: &mut String, prefix: &str, part: &Evaluation| {
        put!(page, "<th>{prefix}loss</th>");
        for (name, _) in &part.metrics {
            put!(page, "<th>{prefix}{}</th>", escape(name));
        }
    };
    heads(page, "", &last.training);
    let validates = history.epochs.iter().find_map(|epoch| epoch.validation.as_ref());
    if let Some(part) = validates {
        heads(page, "validation ", part);
    }
    put!(page, "<th>learning rate</th><th>time</th><th>samples/s</th></tr></thead><tbody>");
    let cells = |page: &mut String, part: &Evaluation| {
        put!(page, "<td>{:.4}</td>", part.loss);
        for (name, value) in &part.metrics {
            put!(page, "<td>{}</td>", figure(name, *value));
        }
    };
    for epoch in &history.epochs {
        put!(page, "<tr><th scope=\"row\">{}</th>", epoch.number);
        cells(page, &epoch.training);
        match (&epoch.validation, validates) {
            (Some(part), _) => cells(page, part),
            (None, Some(part)) => put!(page, "{}", "<td>–</td>".repeat(1 + part.metrics.len())),
            (None, None) => {}
        }
        let (rate, seconds) = (epoch.learning_rate, epoch.seconds);
        let speed = epoch.samples_per_second;
        put!(page, "<td>{rate:.3e}</td><td>{}</td><td>{speed:.0}</td></tr>", duration(seconds));
    }
    put!(page, "</tbody></table></div>");
    for incident in &history.incidents {
        put!(page, "<p class=\"note\">{}</p>", escape(incident));
    }
    if let Some(reason) = &history.stopped {
        put!(page, "<p class=\"note\">Stopped: {}</p>", escape(reason));
    }
    put!(page, "</section>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_write_is_escaped() {
        let report = Report::new("<script>alert(1)</script>")
            .setting("a & b", "\"<b>\"")
            .summary(&"x < y")
            .class_names(["<i>"]);
        let page = report.to_html().unwrap();
        for tag in ["<script", "<b>\"", "x < y"] {
            assert!(!page.contains(tag), "{tag}");
        }
        for text in ["&lt;script&gt;", "a &amp; b", "&quot;&lt;b&gt;&quot;", "x &lt; y"] {
            assert!(page.contains(text), "{text}");
        }
    }

    #[test]
    fn durations_read_well() {
        let shown = [0.5, 59.99, 61.2, 3599.0, 3725.0].map(duration);
        assert_eq!(shown, ["0.50 s", "59.99 s", "1 min 01 s", "59 min 59 s", "1 h 02 min"]);
    }

    #[test]
    fn a_page_needs_no_other_file() {
        let page = Report::new("empty").to_html().unwrap();
        for address in ["http://", "https://", "src=\"/", "@import", "url("] {
            assert!(!page.contains(address), "{address}");
        }
        assert!(page.ends_with("</html>\n"));
    }
}
