"""`bicep build` for the stage: a stand-in for the compiler, which no registry of Python or Node packages has.

    grammar     a file as pycep's grammar sees it
    reading     the grammar's branches -> expressions, with `operators`, `strings` and `functions`
    source      a file -> what it declares; the nouns of both are in `syntax`
    names       what follows from using a name
    references  what a name is in ARM, with `identity`: name, id and scope of a resource
    expressions Bicep's expressions -> ARM's
    template    declarations -> the template, with `resources` and `decorators`

It compiles the subset of Bicep in which `bicep/` is written, into the form of the real one (symbolic names), and
refuses everything else by name. It evaluates nothing: that is the business of `stage.arm`.
"""

from stage.bicep.install import install
from stage.bicep.syntax import BicepError
from stage.bicep.template import compile

__all__ = ["BicepError", "compile", "install"]
