"""kwsbench's rules, kept: one test for each plugin that this package registers."""

import pytest


@pytest.mark.kwsbench(owner="kwsbench-my-plugin")
def test_contract(kwsbench_plugin, kwsbench_check):
    kwsbench_check(*kwsbench_plugin)


# With other parameters than the defaults, in a test of their own: kwsbench_check("KIND", "my-plugin:key=value")
