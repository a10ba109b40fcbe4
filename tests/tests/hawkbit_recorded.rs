//! SWUpdate 2022.12 and rauc-hawkbit-updater, unmodified: every request that was recorded of them is
//! sent again over a raw connection, byte for byte but for the token and the action's number, and the
//! rollout must end where the recorded device ended.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};
use tidegate::api_client::{ApiClient, ApiPath, Credential, Transfers};
use tidegate::stack::Stack;
use tidegate_tests::file;
use tidegate_wire::route::PublishRoute;

/// The tenant of every recording.
const TENANT: &str = "DEFAULT";
const IMAGE: &[u8] = b"the image that every recorded client is offered";

/// One recorded request.
#[derive(Debug, Clone)]
struct Recorded {
    method: String,
    path: String,
    headers: Vec<String>,
    body: String,
    /// The stub's answer, as far as it was written down.
    answer: String,
}

/// The requests to the server of updates; those to the stub of S3 are its business.
fn recording(name: &str) -> Vec<Recorded> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut requests: Vec<Recorded> = Vec::new();
    let (mut is_ours, mut is_in_body) = (false, false);
    for line in text.lines() {
        let is_start = line.split_once(' ').is_some_and(|(time, _)| time.parse::<f64>().is_ok());
        if let Some((_, request)) = line.split_once(" [DDI] ") {
            let (method, path) = request.split_once(' ').unwrap();
            let (method, path) = (method.to_string(), path.to_string());
            requests.push(Recorded { method, path, headers: vec![], body: String::new(), answer: String::new() });
            (is_ours, is_in_body) = (true, false);
        } else if let Some((_, answer)) = line.split_once("     -> ").filter(|_| is_start) {
            if let Some(last) = requests.iter_mut().rev().find(|request| request.answer.is_empty()) {
                last.answer = answer.to_string();
            }
            (is_ours, is_in_body) = (false, false);
        } else if is_start || line.starts_with("-----") {
            // The stub of S3, or what the stub said when a body was not JSON.
            (is_ours, is_in_body) = (false, false);
        } else if let Some(last) = requests.last_mut().filter(|_| is_ours) {
            if let Some(body) = line.strip_prefix("    | ") {
                last.body = body.to_string();
                is_in_body = true;
            } else if is_in_body {
                // SWUpdate breaks a line within a text.
                last.body = format!("{}\n{line}", last.body);
            } else if let Some(header) = line.strip_prefix("    ") {
                last.headers.push(header.to_string());
            }
        }
    }
    requests.iter_mut().for_each(Recorded::complete);
    requests
}

impl Recorded {
    /// Of a log of kilobytes only the beginning was written down. The rest is as long as it was.
    fn complete(&mut self) {
        const END: &str = "\" ] } }";
        let length = self.headers.iter().find_map(|header| header.strip_prefix("Content-Length: "));
        let length = length.map_or(0, |length| length.parse::<usize>().unwrap());
        if self.body.len() + END.len() < length {
            let lines = " and so on\",\"".chars().cycle().take(length - self.body.len() - END.len());
            let lines = lines.collect::<String>();
            // A line that ends in the middle of its end would not be JSON.
            let lines = lines.trim_end_matches(['"', ',']).to_string();
            self.body += &format!("{lines}{}{END}", "x".repeat(length - self.body.len() - END.len() - lines.len()));
        }
        assert_eq!(self.body.len(), length, "{} {}", self.method, self.path);
    }
}

/// A client that does again what was recorded.
struct Replay {
    stack: Stack,
    operator: ApiClient,
    version: &'static str,
    authorization: String,
    /// The action that the last poll named.
    action: Option<String>,
    /// Whether it has said what it is since it was last told what to do.
    is_configured: bool,
}

/// A status, the headers as they came, and the body.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.head))
    }
}

impl Replay {
    async fn new(device: &str, name: &str, version: &'static str) -> Self {
        let stack = Stack::temporary(0).await.unwrap();
        let key = stack.operator_key.expose().to_string();
        let operator = ApiClient::new(&stack.door.url(), Credential::OperatorKey(key)).unwrap();
        let token = tokio::task::block_in_place(|| {
            let created = operator
                .post(
                    &ApiPath::product(PublishRoute::CreateUpdate, TENANT),
                    &json!({"version": version, "files": [file(name, IMAGE)]}),
                )
                .unwrap();
            let upload = &created["uploads"][0];
            let headers = upload["headers"].as_object().unwrap().iter();
            let headers = headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_string()));
            let url = upload["url"].as_str().unwrap();
            let headers = headers.collect::<Vec<_>>();
            Transfers::new().upload("PUT", url, &headers, IMAGE.len() as u64, &mut &*IMAGE).unwrap();
            operator.post(&ApiPath::update(PublishRoute::ActivateUpdate, TENANT, version), &json!({})).unwrap();
            let issued = operator.put(&ApiPath::device(PublishRoute::IssueToken, TENANT, device)).unwrap();
            issued["token"].as_str().unwrap().to_string()
        });
        let authorization = format!("Authorization: TargetToken {token}");
        Self { stack, operator, version, authorization, action: None, is_configured: false }
    }

    fn steer(&self, route: PublishRoute) {
        self.operator.post(&ApiPath::update(route, TENANT, self.version), &json!({})).unwrap();
    }

    fn edit(&self, rollout: Value) {
        self.operator
            .patch(&ApiPath::update(PublishRoute::EditCampaign, TENANT, self.version), &json!({"rollout": rollout}))
            .unwrap();
    }

    fn counts(&self) -> String {
        tidegate_tests::count_here(&self.stack);
        let metrics = self.operator.get(&ApiPath::update(PublishRoute::ShowMetrics, TENANT, self.version)).unwrap();
        ["offered", "in_flight", "proved", "failed", "lost"].map(|name| metrics[name].to_string()).join(" ")
    }

    fn runs(&self, device: &str) -> Value {
        self.operator.get(&ApiPath::device(PublishRoute::ShowDevice, TENANT, device)).unwrap()["version"].clone()
    }

    /// Sends one recorded request again.
    fn send(&mut self, recorded: &Recorded) -> Answer {
        let action = self.action.clone().unwrap_or_else(|| "7".into());
        let path = recorded.path.replace("Base/7", &format!("Base/{action}"));
        let path = path.replace("Action/7", &format!("Action/{action}"));
        let path = path.replace("softwaremodules/1/", &format!("softwaremodules/{action}/"));
        let body = recorded.body.replace("\"id\": 7", &format!("\"id\": {action}"));
        let body = body.replace("\"id\":\"7\"", &format!("\"id\":\"{action}\""));
        let headers = recorded.headers.iter().map(|header| match header.split_once(": ") {
            Some(("Authorization", _)) => self.authorization.clone(),
            Some(("Content-Length", _)) => format!("Content-Length: {}", body.len()),
            _ => header.clone(),
        });
        let head = format!("{} {path} HTTP/1.1\r\n{}", recorded.method, headers.collect::<Vec<_>>().join("\r\n"));
        let address = self.stack.door.url().trim_start_matches("http://").to_string();
        let answer = exchange(&address, &format!("{head}\r\n\r\n{body}"), recorded.method == "HEAD");
        let is_poll = recorded.path.ends_with("-dev-1");
        if is_poll {
            self.learn(&answer.json());
        }
        self.is_configured = !is_poll && (self.is_configured || recorded.method == "PUT");
        answer
    }

    fn learn(&mut self, poll: &Value) {
        for name in ["deploymentBase", "cancelAction"] {
            if let Some(href) = poll["_links"][name]["href"].as_str() {
                assert!(href.starts_with("http://127.0.0.1:60081/"), "{href} must be on the host that was asked");
                self.action = href.rsplit('/').next().map(str::to_string);
            }
        }
    }

    /// Sends everything; answers `method what status` of each. The stub told a client at once what to
    /// install, where we ask first what it is: it polls once more.
    fn run(&mut self, requests: &[Recorded], mut before: impl FnMut(&Self, &Recorded)) -> Vec<(String, Answer)> {
        let poll = requests[0].clone();
        let mut answers = Vec::new();
        for recorded in requests {
            if self.is_configured && recorded.path != poll.path {
                self.send(&poll);
            }
            before(self, recorded);
            let answer = self.send(recorded);
            let rest = recorded.path.trim_start_matches(&poll.path).trim_start_matches('/');
            let what = rest.split(['?', '/']).filter(|word| *word != "7" && *word != "1" && !word.starts_with("c="));
            let what = what.collect::<Vec<_>>().join("/");
            let line = format!("{} {what} {}", recorded.method, answer.status).replace("  ", " ");
            answers.push((line, answer));
        }
        answers
    }
}

/// Sends bytes and reads the answer as a client does that stops at its `Content-Length`.
fn exchange(address: &str, request: &str, is_head: bool) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut received = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        // SWUpdate expects `100 Continue` before it sends its attributes.
        while received.starts_with(b"HTTP/1.1 100") {
            match received.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => drop(received.drain(..end + 4)),
                None => break,
            }
        }
        if let Some(split) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(received[..split].to_vec()).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
            let length: usize = if is_head { 0 } else { length.parse().unwrap() };
            if received.len() >= split + 4 + length {
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                return Answer { status, head, body: received[split + 4..split + 4 + length].to_vec() };
            }
        }
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the connection ended early");
        received.extend_from_slice(&buffer[..count]);
    }
}

fn summary(answers: &[(String, Answer)]) -> Vec<&str> {
    let mut lines = answers.iter().map(|(line, _)| line.as_str()).collect::<Vec<_>>();
    lines.dedup();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn swupdate_is_redirected_to_the_image_and_reports_on_the_way() {
    let mut replay = Replay::new("swu-dev-1", "update-1.1.0.swu", "1.1.0").await;
    let answers = tokio::task::block_in_place(|| {
        let answers = replay.run(&recording("hawkbit-swupdate-redirect.txt"), |_, _| {});
        assert_eq!(replay.counts(), "1 1 0 0 0", "it restarts first, and then says how it went");
        answers
    });
    let artifact = "softwaremodules/artifacts/update-1.1.0.swu";
    assert_eq!(
        summary(&answers),
        [
            "GET 200",
            "GET deploymentBase 404",
            "PUT configData 200",
            "GET 200",
            "GET deploymentBase 200",
            "GET 200",
            "GET deploymentBase 200",
            "POST deploymentBase/feedback 200",
            &format!("HEAD {artifact} 302"),
            &format!("GET {artifact} 302"),
            "POST deploymentBase/feedback 200",
            "GET 200",
            "GET deploymentBase 200",
        ]
    );
    for (line, answer) in &answers {
        if line.ends_with(" 302") {
            let url = answer.head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap().to_string();
            if line.starts_with("GET") {
                assert_eq!(tidegate_tests::get(&url).await, (200, IMAGE.to_vec()));
            }
        } else if line.contains("deploymentBase 200") {
            let deployment = answer.json();
            let artifact = &deployment["deployment"]["chunks"][0]["artifacts"][0];
            assert!(deployment["id"].as_str().unwrap().parse::<i32>().is_ok_and(|id| id > 0), "{deployment}");
            assert!(artifact["size"].is_u64() && artifact["hashes"]["sha1"].is_string(), "{deployment}");
            assert_eq!(artifact["filename"], "update-1.1.0.swu");
        } else {
            assert!(!answer.body.is_empty(), "SWUpdate takes an empty answer for an error");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_counts_once_even_where_its_text_is_not_json() {
    for (name, failures) in [("hawkbit-swupdate-direct.txt", 1), ("hawkbit-swupdate-nosha1.txt", 2)] {
        let mut replay = Replay::new("swu-dev-1", "update-1.1.0.swu", "1.1.0").await;
        tokio::task::block_in_place(|| {
            let requests = recording(name);
            let is_failure = |request: &&Recorded| request.body.contains("\"finished\": \"failure\"");
            assert_eq!(requests.iter().filter(is_failure).count(), failures, "{name}");
            let last = requests.iter().rposition(|request| is_failure(&request)).unwrap();
            let answers = replay.run(&requests[..=last], |_, _| {});
            assert_eq!(replay.counts(), "1 0 0 1 0", "{name}");
            let statuses = answers.iter().rev().take(failures).map(|(_, answer)| answer.status).collect::<Vec<_>>();
            // The second time it is told that the action is over.
            assert_eq!(statuses, [410, 200][2 - failures..], "{name}");
            replay.run(&requests[..1], |_, _| {});
            assert_eq!(replay.counts(), "1 0 0 1 0", "{name}: it may try again in an hour");
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swupdate_lets_go_of_an_update_that_was_paused() {
    let mut replay = Replay::new("swu-dev-1", "update-1.1.0.swu", "1.1.0").await;
    tokio::task::block_in_place(|| {
        let mut is_paused = false;
        let answers = replay.run(&recording("hawkbit-swupdate-cancel.txt"), |replay, recorded| {
            if recorded.answer.contains("cancelAction") && !is_paused {
                replay.steer(PublishRoute::PauseUpdate);
                is_paused = true;
            }
        });
        let told = answers.iter().position(|(line, _)| line == "GET cancelAction 200").expect("it is told to stop");
        let order = answers[told].1.json();
        assert_eq!(order["id"], order["cancelAction"]["stopId"]);
        assert!(answers.iter().any(|(line, _)| line == "POST cancelAction/feedback 200"));
        assert!(answers.last().unwrap().1.json()["_links"].as_object().unwrap().is_empty());
        assert_eq!(replay.counts(), "1 0 0 0 0", "no outcome, and no place in flight");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_swupdate_skipped_is_not_installed() {
    let mut replay = Replay::new("swu-dev-1", "update-1.1.0.swu", "1.1.0").await;
    tokio::task::block_in_place(|| {
        let mut polls = 0;
        let answers = replay.run(&recording("hawkbit-swupdate-skip.txt"), |replay, recorded| {
            polls += u32::from(recorded.path.ends_with("swu-dev-1"));
            // It has its place in flight; then the window shuts, until next New Year.
            if polls == 3 && recorded.path.ends_with("swu-dev-1") {
                replay.edit(json!({"windows": [{"cron": "0 0 1 1 *", "duration_s": 60}]}));
            }
        });
        let (_, told) = answers.iter().rev().find(|(line, _)| line == "GET deploymentBase 200").unwrap();
        assert_eq!(told.json()["deployment"]["update"], "skip");
        assert_eq!(told.json()["deployment"]["maintenanceWindow"], "unavailable");
        assert_eq!(answers.last().unwrap().0, "POST deploymentBase/feedback 200");
        assert_eq!(replay.counts(), "1 1 0 0 0");
        assert_eq!(replay.runs("swu-dev-1"), "1.0.0");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn rauc_hawkbit_updater_installs_and_is_counted() {
    let mut replay = Replay::new("rhu-dev-1", "up.raucb", "2.0.0").await;
    tokio::task::block_in_place(|| {
        let answers = replay.run(&recording("hawkbit-rhu-base.txt"), |_, _| {});
        assert_eq!(
            summary(&answers),
            [
                "GET 200",
                "PUT configData 200",
                "GET deploymentBase 200",
                "GET softwaremodules/artifacts/up.raucb 302",
                "POST deploymentBase/feedback 200",
                "GET 200",
            ]
        );
        // It has not said the version that it runs since: it is asked.
        assert_eq!(replay.counts(), "1 1 0 0 0");
        assert_eq!(replay.runs("rhu-dev-1"), "1.0.0");
        let answer = &answers.last().unwrap().1;
        assert!(answer.json()["_links"]["configData"].is_object(), "{}", answer.json());
        assert!(answer.head.contains("Content-Type: application/json"), "it asks for that: {}", answer.head);
    });
}
