//! From the outbox to frames: what the broker has told is encoded for the peer.
//!
//! Confirms of one commit share a frame. Answers to requests on one stream leave in the order of the requests; replies
//! leave before deliveries, so that a busy subscription does not hold them up.

use streamkeeper_protocol::Run;
use streamkeeper_protocol::event::{confirm, records};

use super::outbox::News;
use super::{Failure, Session, WriteBuffer, convert};
use crate::broker::Runs;

/// A quiet session keeps room for at most this many confirms.
const IDLE_CONFIRMS_MAX: usize = 128;

impl Session {
    /// Encodes what there is to tell the peer: confirms, answers, and as many deliveries as `out` should hold.
    pub fn settle(&mut self, out: &mut WriteBuffer) {
        let mut taken = std::mem::take(&mut self.taken);
        if self.outbox.take(&mut taken) {
            self.submissions
                .complete(std::mem::take(&mut taken.completed));
            let mut confirms = taken.confirms.as_slice();
            let mut written = 0;
            for news in taken.news.drain(..) {
                if let News::Replied {
                    confirms_before, ..
                } = news
                {
                    // Answers of one stream leave in the order of its requests.
                    let (before, after) = confirms.split_at(confirms_before - written);
                    confirm::encode(before, out.tail());
                    (confirms, written) = (after, confirms_before);
                }
                self.tell(news, out);
            }
            confirm::encode(confirms, out.tail());
            taken.confirms.clear();
            taken.woken.drain(|slot| self.subscriptions.wake(slot));
            taken.confirms.shrink_to(IDLE_CONFIRMS_MAX);
            taken.news.shrink_to(0);
        }
        self.taken = taken;
        self.subscriptions.pump(&self.context, &self.outbox, out);
    }

    fn tell(&mut self, news: News, out: &mut WriteBuffer) {
        match news {
            News::Replied {
                correlation,
                reply: Ok(answer),
                ..
            } => {
                if let Some(event) = convert::answer(correlation, &answer) {
                    event.encode(correlation, out.tail());
                }
            }
            News::Replied {
                correlation,
                reply: Err(error),
                ..
            } => {
                self.refuse(correlation, error.into(), out);
            }
            News::Queried {
                correlation,
                answer,
            } => {
                self.queries.queried();
                match answer {
                    Ok(event) => event.encode(correlation, out.tail()),
                    Err(error) => self.refuse(correlation, error.into(), out),
                }
            }
            News::Read {
                correlation,
                answer,
                room,
            } => {
                self.rooms.extend(room);
                self.queries.read_answered();
                match answer {
                    Ok(runs) => write_records(correlation, &runs, out),
                    Err(error) => self.refuse(correlation, error.into(), out),
                }
            }
            News::Opened { token, cursor } => {
                let opened = self.subscriptions.opened(&self.context, token, cursor, out);
                if let Err((correlation, failure)) = opened {
                    self.refuse(correlation, failure, out);
                }
            }
            News::Loaded {
                token,
                cursor,
                step,
                room,
            } => {
                self.rooms.push(room);
                self.subscriptions
                    .loaded(&self.context, token, cursor, step, out);
            }
        }
    }

    /// Answers a request with ERR.
    pub(super) fn refuse(&self, correlation: u32, failure: Failure, out: &mut WriteBuffer) {
        self.context
            .broker
            .metrics()
            .refusals
            .increment(failure.code());
        failure.into_event().encode(correlation, out.tail());
    }
}

fn write_records(correlation: u32, runs: &Runs, out: &mut WriteBuffer) {
    let bytes = runs.runs.iter().map(Run::encoded_bytes).sum();
    records::encode_header(correlation, &convert::records_head(runs), bytes, out.tail());
    out.push_runs(&runs.runs);
}
