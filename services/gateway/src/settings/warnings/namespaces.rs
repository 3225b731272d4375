//! Options of a namespace that have no effect beside its other options or beside what the rest of the settings lets in. Options
//! that can never be meant together are errors (`shared/auth`, `OptionsProblem`); these have a meaning that few expect.

use gorani_auth::ChannelOptions;

use super::callers::Callers;

/// The three options that open one command to clients.
struct Permission {
    command: &'static str,
    subscriber: bool,
    client: bool,
    anonymous: bool,
}

impl Permission {
    fn all(options: &ChannelOptions) -> [Self; 4] {
        [
            // Nobody is subscribed before subscribing.
            Self {
                command: "subscribe",
                subscriber: false,
                client: options.allow_subscribe_for_client,
                anonymous: options.allow_subscribe_for_anonymous,
            },
            Self {
                command: "publish",
                subscriber: options.allow_publish_for_subscriber,
                client: options.allow_publish_for_client,
                anonymous: options.allow_publish_for_anonymous,
            },
            Self {
                command: "presence",
                subscriber: options.allow_presence_for_subscriber,
                client: options.allow_presence_for_client,
                anonymous: options.allow_presence_for_anonymous,
            },
            Self {
                command: "history",
                subscriber: options.allow_history_for_subscriber,
                client: options.allow_history_for_client,
                anonymous: options.allow_history_for_anonymous,
            },
        ]
    }

    /// True if some clients may give the command.
    fn is_open(&self) -> bool {
        self.subscriber || self.client
    }

    /// The options of the three that are on, as the file has them.
    fn written(&self) -> Vec<String> {
        let options =
            [("subscriber", self.subscriber), ("client", self.client), ("anonymous", self.anonymous)];
        let on = options.into_iter().filter(|(_, is_on)| *is_on);
        on.map(|(who, _)| format!("allow_{}_for_{who}", self.command)).collect()
    }

    /// Options that open nothing, since other options or callers are missing.
    fn problem(&self, callers: Callers) -> Option<String> {
        let Self { command, anonymous, .. } = self;
        if !*anonymous {
            let opens_nothing = self.is_open() && !callers.users && callers.anonymous;
            return opens_nothing.then(|| {
                let written = self.written().join(", ");
                format!(
                    "{written} opens nothing: [token] has no key, so every client is anonymous, and \
                     allow_{command}_for_anonymous is off"
                )
            });
        }
        if !self.is_open() {
            let subscriber = if *command == "subscribe" { "" } else { " or allow_{command}_for_subscriber" };
            let subscriber = subscriber.replace("{command}", command);
            return Some(format!(
                "allow_{command}_for_anonymous opens nothing without allow_{command}_for_client{subscriber}"
            ));
        }
        (!callers.anonymous)
            .then(|| format!("allow_{command}_for_anonymous opens nothing: client.allow_anonymous is off"))
    }
}

/// A sentence for each option that has no effect.
pub(super) fn contradictions(options: &ChannelOptions, callers: Callers) -> Vec<String> {
    let permissions = Permission::all(options);
    let mut problems: Vec<_> =
        permissions.iter().filter_map(|permission| permission.problem(callers)).collect();
    let [subscribe, _, presence, history] = &permissions;
    let only = if callers.api { "the API alone does" } else { "nor the API, which is closed" };
    let shows_nothing = |permission: &Permission, what: &str| {
        let written = permission.written().join(", ");
        (!written.is_empty()).then(|| format!("{written} shows nothing: {what}"))
    };
    if options.presence && !presence.is_open() {
        problems.push(format!(
            "presence is on, and no client may read it ({only}): allow_presence_for_subscriber and \
             allow_presence_for_client are off"
        ));
    }
    if !options.presence {
        problems.extend(shows_nothing(presence, "presence is off"));
    }
    if options.has_history() {
        problems.extend(recovery_problem(options).map(str::to_owned));
        if !options.allow_recovery && !options.force_recovery && !history.is_open() {
            problems.push(format!(
                "history is kept, and no client may recover or read it ({only}): allow_recovery, \
                 allow_history_for_subscriber and allow_history_for_client are off"
            ));
        }
    } else {
        problems.extend(shows_nothing(history, "history_size is 0"));
    }
    let subscribes_by_itself = subscribe.client || options.allow_user_limited_channels;
    if options.join_leave && !options.force_push_join_leave && !subscribes_by_itself {
        let who =
            if callers.users { "only clients with a subscription token that ask for them" } else { "nobody" };
        problems.push(format!(
            "join_leave is on, and {who} can receive joins and leaves: allow_subscribe_for_client, \
             allow_user_limited_channels and force_push_join_leave are off"
        ));
    }
    problems
}

/// An option about recovery that is off and closes nothing.
fn recovery_problem(options: &ChannelOptions) -> Option<&'static str> {
    let ChannelOptions { force_recovery, force_positioning, allow_recovery, allow_positioning, .. } = options;
    if *force_recovery && !allow_recovery {
        Some("allow_recovery = false closes nothing, since force_recovery is on")
    } else if *force_recovery && !(*force_positioning && *allow_positioning) {
        Some(
            "force_positioning = false and allow_positioning = false close nothing, since force_recovery is on: what recovers \
             has a position",
        )
    } else if *force_positioning && !allow_positioning {
        Some("allow_positioning = false closes nothing, since force_positioning is on")
    } else {
        None
    }
}
