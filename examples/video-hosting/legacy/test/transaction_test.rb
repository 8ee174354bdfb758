# frozen_string_literal: true

require_relative "test_helper"

class TransactionTest < TestCase
  committing

  def test_a_rollback_leaves_nothing
    name = "Gone #{rand(2**60)}"
    User.transaction do
      charge(video(user(name)), 100)
      raise ActiveRecord::Rollback
    end
    refute User.exists?(name: name)
  end

  def test_a_savepoint_is_rolled_back_alone
    ada, grace = user, user("Grace")
    first = video(ada)
    User.transaction do
      first.update!(title: "Kept")
      User.transaction(requires_new: true) do
        first.give_to!(grace)
        charge(first, 5)
        raise ActiveRecord::Rollback
      end
      charge(first.reload, 7)
    end
    assert_equal ["Kept", ada.id, [7]], [first.reload.title, first.user_id, first.charges.pluck(:amount_minor)]
  end

  def test_an_error_undoes_all_of_it
    ada = user
    assert_raises(ActiveRecord::RecordInvalid) do
      ada.transaction do
        video(ada, "Never")
        ada.update!(name: "")
      end
    end
    refute ada.videos.exists?(title: "Never")
    assert_equal 1, ada.reload.videos_count
  end

  def test_commit_callbacks_run_once
    first = video
    first.update!(title: "Announced")
    assert_equal ["Announced"], first.announcements
    Video.transaction { first.update!(title: "Never"); raise ActiveRecord::Rollback }
    assert_equal ["Announced"], first.announcements
  end

  def test_writers_side_by_side
    first, period = video, month
    Array.new(4) do |number|
      Thread.new do
        ActiveRecord::Base.connection_pool.with_connection { 5.times { |each| charge(Video.find(first.id), number * 5 + each, period: period) } }
      end
    end.each(&:join)
    assert_equal 20, first.reload.charges_count
    assert_equal 190, first.charges.sum(:amount_minor)
  end

  def test_a_strict_transaction
    return unless postgres?

    first, period = video, month
    Charge.transaction(isolation: :serializable) { charge(first, BillRun.new(period).lines.size + 1, period: period) }
    assert_equal [1], first.charges.pluck(:amount_minor)
  end

  def test_skip_locked
    return unless postgres?

    first, second = user, user("Second")
    User.transaction do
      User.lock.find(first.id)
      free = Thread.new do
        ActiveRecord::Base.connection_pool.with_connection { User.lock("FOR UPDATE SKIP LOCKED").where(id: [first.id, second.id]).pluck(:id) }
      end
      assert_equal [second.id], free.value
    end
  end
end
