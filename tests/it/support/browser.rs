//! Chromium without a window, driven over its own protocol (<https://chromedevtools.github.io/devtools-protocol/>) by two
//! pipes, so that nothing else can reach it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::services::find;

/// A page of a browser, and what it had to complain about.
pub(crate) struct Browser {
    process: Child,
    asks: File,
    tells: BufReader<File>,
    session: Option<String>,
    asked: u64,
    loaded: u64,
    complaints: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let program = find("chromium", "/usr/bin", "chromium");
        let folder = tempfile::tempdir().unwrap();
        let pipe = |name: &str| {
            let path = folder.path().join(name);
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            path
        };
        let (asks, tells) = (pipe("asks"), pipe("tells"));
        // The protocol is spoken on the third and fourth file of the process.
        let script = "exec \"$0\" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                      --remote-debugging-pipe --user-data-dir=\"$1\" 3<\"$2\" 4>\"$3\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(program).arg(folder.path().join("profile")).arg(&asks).arg(&tells);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (asks, tells) = open(&asks, &tells);
        let mut browser = Self {
            process,
            asks,
            tells: BufReader::new(tells),
            session: None,
            asked: 0,
            loaded: 0,
            complaints: Vec::new(),
            _folder: folder,
        };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = browser.ask("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Opens a page and waits until it is there.
    pub(crate) fn open(&mut self, url: &str) {
        let before = self.loaded;
        let answer = self.ask("Page.navigate", json!({"url": url}));
        assert_eq!(answer["errorText"], Value::Null, "{url}");
        self.wait_for_load(before);
    }

    /// Shows the page that is open at this width, as a laptop or a phone would; whether it fits.
    pub(crate) fn fits(&mut self, width: u32) -> bool {
        let metrics = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        self.ask("Emulation.setDeviceMetricsOverride", metrics);
        self.value("document.documentElement.scrollWidth <= innerWidth").as_bool().unwrap()
    }

    /// Clicks what a selector finds first, which leads to another page, and waits until that is there.
    pub(crate) fn follow(&mut self, selector: &str) {
        let before = self.loaded;
        let script = format!("(it => it && (it.click(), true))(document.querySelector({}))", json!(selector));
        assert_eq!(self.value(&script), true, "nothing is {selector}");
        self.wait_for_load(before);
    }

    /// Presses a key that leads to another page, and waits until that is there.
    pub(crate) fn press_and_follow(&mut self, key: &str) {
        let before = self.loaded;
        self.press(key);
        self.wait_for_load(before);
    }

    pub(crate) fn press(&mut self, key: &str) {
        // Keys with a name, such as Escape, write nothing.
        let text = if key.chars().count() == 1 { key } else { "" };
        self.ask("Input.dispatchKeyEvent", json!({"type": "keyDown", "key": key, "text": text}));
        self.ask("Input.dispatchKeyEvent", json!({"type": "keyUp", "key": key}));
    }

    /// What an expression is in the page.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        self.ask("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}))["result"]["value"]
            .clone()
    }

    /// The text that a person sees.
    pub(crate) fn text(&mut self) -> String {
        self.value("document.body.innerText").as_str().unwrap().to_owned()
    }

    /// What pages have complained about since this was last asked: errors, exceptions, broken policies.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        // What was said before this answer has arrived with it.
        self.value("1");
        std::mem::take(&mut self.complaints)
    }

    fn wait_for_load(&mut self, before: u64) {
        while self.loaded == before {
            let message = self.read();
            self.note(&message);
        }
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.asks.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.read();
            if answer["id"] == json!(id) {
                assert_eq!(answer["error"], Value::Null, "{method}");
                return answer["result"].clone();
            }
            self.note(&answer);
        }
    }

    fn read(&mut self) -> Value {
        let mut message = Vec::new();
        self.tells.read_until(0, &mut message).unwrap();
        assert_eq!(message.pop(), Some(0), "the browser has gone");
        serde_json::from_slice(&message).unwrap()
    }

    fn note(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str() {
            Some("Page.loadEventFired") => self.loaded += 1,
            Some("Runtime.exceptionThrown") => self.complaints.push(parameters.to_string()),
            Some("Runtime.consoleAPICalled") if parameters["type"] == "error" => {
                self.complaints.push(parameters.to_string());
            }
            Some("Log.entryAdded") if parameters["entry"]["level"] == "error" => {
                self.complaints.push(parameters["entry"].to_string());
            }
            _ => {}
        }
    }
}

/// Either end of a pipe waits for the other, which the shell opens in this order.
fn open(asks: &Path, tells: &Path) -> (File, File) {
    (OpenOptions::new().write(true).open(asks).unwrap(), File::open(tells).unwrap())
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}
