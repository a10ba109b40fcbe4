//! Reports of a device. One that does not arrive is kept and sent at the next check-in.

use serde_json::{Value, json};

use super::agent::Agent;
use crate::api_client::ApiPath;
use crate::offer::Offer;

impl Agent<'_> {
    /// Sends a report to the service. If it does not arrive, it is kept, so that no outcome is lost.
    pub(super) fn report(&mut self, offer: &Offer, status: &str, message: Option<&str>) {
        let mut report = json!({
            "id": self.device.id,
            "product": self.device.product,
            "update": offer.update,
            "status": status,
        });
        if let (Some(message), Some(fields)) = (message, report.as_object_mut()) {
            fields.insert("message".into(), Value::from(message));
        }
        self.send(report);
    }

    fn send(&mut self, report: Value) {
        match self.client.post(&ApiPath::report(), &report) {
            Ok(_) => {}
            Err(error) if matches!(error.status(), Some(400..=428 | 430..=499)) => {
                self.say(&format!("the report was refused: {error}"));
            }
            Err(error) => {
                self.say(&format!("the report is kept for later: {error}"));
                self.memory.unsent(report);
            }
        }
    }

    pub(super) fn send_unsent(&mut self) {
        for report in self.memory.take_unsent() {
            self.send(report);
        }
    }
}
