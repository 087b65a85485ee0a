"""One relay process lives through hundreds of calls and random faults; then its books and its memory are judged.

kinds      the closed list of what may happen to a call, and how it must end then
plan       which of it happens to which call: by the seed and the call's number, so that both ends know
end        one end of a call on a raw socket: counts every frame, knows the relay's own from the other end's
account    what an end writes down of its call
speech     what is said, sound and unsound
client     a client's life, and the faults that are its own; load: the process that keeps hundreds of them
model      the model's side of a call, and the faults that are its own; serving: its process
processes  the three of them, from start to end
samples    memory, descriptors, tasks of the relay, every few seconds
books      what relay, clients and model wrote down of each call, side by side
checks     what must be true: of what was moved (moved), of how calls ended (ended), of the samples (growth)
view       the run for eyes while it lasts, and the verdict; page: the same with curves, as one file
run        the run from start to verdict
"""
