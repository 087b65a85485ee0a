"""One relay process lives through hundreds of calls and random faults; then its books and its memory are judged.

kinds    the closed list of what may happen to a call, and how it must end then
plan     which of it happens to which call: by the seed and the call's number, so that both ends know
end      one end of a call on a raw socket: counts every frame, knows the relay's own from the other end's
client   a client's life, and the faults that are its own
load     the process that keeps so many clients on the phone
model    the process that plays the model, and the faults that are its own
samples  memory, descriptors, tasks of the relay, every few seconds
books    what relay, clients and model wrote down of each call, side by side
checks   what must be true of the books; growth: of the samples
view     the run for eyes while it lasts, and the verdict; page: the same with curves, as one file
run      the run from start to exit
"""
