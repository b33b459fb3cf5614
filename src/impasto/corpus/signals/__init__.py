"""Machine-readable reservations of rights, one file a signal; none of them opens a connection.

Each file has a `read` that takes what was found where the signal stands, and gives a `Reading`: what it says of
training a generative model on this work, with the words it was read from. What cannot be read is `unknown`, and
`precedence` treats that as a refusal. What was looked for and is not there is `absent`, which is recorded too.
"""
