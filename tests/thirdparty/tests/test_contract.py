import pytest


@pytest.mark.kwsbench(owner="kwsbench-thirdparty")
def test_contract(kwsbench_plugin, kwsbench_check):
    kwsbench_check(*kwsbench_plugin)


def test_few_lags(kwsbench_check):
    kwsbench_check("encoder", "autocorrelation:lags=2")
