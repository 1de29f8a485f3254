//! Which broker a client command talks to, and how.

use clap::Args;
use streamkeeper_client::Client;

use super::Failure;

/// The broker and the form of the output; every client command has these.
#[derive(Debug, Args)]
#[command(next_help_heading = "Broker and output")]
pub(super) struct Target {
    /// Address of the broker: HOST:PORT or unix:PATH
    #[arg(
        long,
        value_name = "ADDR",
        env = "STREAMKEEPER_SERVER",
        default_value = "127.0.0.1:4438"
    )]
    pub(super) server: String,

    /// Token to show to the broker
    #[arg(
        long,
        value_name = "TOKEN",
        env = "STREAMKEEPER_TOKEN",
        hide_env_values = true
    )]
    pub(super) token: Option<String>,

    /// Print JSON, one object a line
    #[arg(long)]
    pub(super) json: bool,
}

impl Target {
    /// Connects.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        let name = concat!("streamkeeper/", env!("CARGO_PKG_VERSION"));
        let mut client = Client::builder().name(name);
        if let Some(token) = self.token.as_ref().filter(|token| !token.is_empty()) {
            client = client.token(token.clone());
        }
        client
            .connect(&self.server)
            .await
            .map_err(Failure::during("connecting"))
    }
}
