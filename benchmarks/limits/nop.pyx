"""What a call costs that does nothing: the measure for `put` and `get`."""


cdef class Nop:
    def nop(self):
        pass
